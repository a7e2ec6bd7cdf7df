package feed

import (
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// unpacking is how many times larger than what was sent records are in memory, in
// parts of 16. A broker counts the bytes that it sends: where they are compressed,
// or where records are small beside the kgo.Record that each becomes, more has to
// be left out of an answer for it to stay within a bound once it is unpacked.
//
// Several workers use it; that they may lose one another's change does no harm.
type unpacking struct{ ratio atomic.Int64 }

const (
	unpackingOne = 16
	// unpackingFirst is assumed before anything was seen.
	unpackingFirst = 4 * unpackingOne
	// leastAsked is always asked for, where the bound is no lower.
	leastAsked = 64 << 10
)

// bound returns what to ask for so that at most so many bytes are unpacked.
func (u *unpacking) bound(bytes int32) int32 {
	ratio := u.ratio.Load()
	if ratio == 0 {
		ratio = unpackingFirst
	}
	return max(min(bytes, leastAsked), int32(int64(bytes)*unpackingOne/max(ratio, unpackingOne)))
}

// saw takes account of records and of the bytes in which they were sent. What
// unpacks to more counts at once, what unpacks to less little by little.
func (u *unpacking) saw(sent int, records []*kgo.Record) {
	if sent == 0 || len(records) == 0 {
		return
	}
	var bytes int64
	for _, r := range records {
		bytes += recordBytes + int64(len(r.Key)+len(r.Value))
		for _, h := range r.Headers {
			bytes += int64(len(h.Key) + len(h.Value))
		}
	}
	now := max(bytes*unpackingOne/int64(sent), unpackingOne)
	if old := u.ratio.Load(); now < old {
		now = max(now, old-max(1, old/8))
	}
	u.ratio.Store(now)
}
