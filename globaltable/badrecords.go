package globaltable

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/store"
)

// A BadRecordPolicy says what becomes of a record that cannot be decoded, or that
// the function of a [Transform] rejects.
type BadRecordPolicy int

const (
	// Skip gives its key no row, whatever row it had: a fresh replica never saw
	// an older one either. It is counted in [Stats].Rejected, and hooks are told
	// of it as [DropRejected].
	Skip BadRecordPolicy = iota + 1
	// Fail ends Run with a [*BadRecordError]. Nothing behind the record was
	// applied: with another codec, or with Skip, the next Run goes on from there.
	Fail
)

// BadRecords decodes every record that has a key and a value when it arrives, in
// bootstrap and live alike, and says what becomes of one that is bad. A deletion is
// not decoded: it deletes its key. By default records are kept as they are,
// and a bad one is a [*DecodeError] to who reads its row; with a [Transform] the
// default is [Skip].
//
// A codec's error that is marked by codec.Retryable is no bad record: the partition
// waits, and [Status].Err says for what. A store is rebuilt where its rows would be
// other ones under another policy: not if it was written under Fail, since nothing
// bad is in its rows.
func BadRecords(p BadRecordPolicy) Opt { return opt(func(c *config) { c.badRecords = p }) }

// A BadRecordError ends Run under [Fail].
type BadRecordError struct {
	Topic     string
	Partition int32
	Offset    int64
	// Err is the error of the codec or of the transform's function.
	Err error
}

// Error implements the error interface.
func (e *BadRecordError) Error() string {
	return fmt.Sprintf("globaltable: the record at %s/%d offset %d is bad: %v; mend the codec or the transform, or give its key no row with BadRecords(Skip)",
		e.Topic, e.Partition, e.Offset, e.Err)
}

// Unwrap returns the error of the codec or of the function.
func (e *BadRecordError) Unwrap() error { return e.Err }

// How a store names policies.
const skipped, failed = "skip", "fail"

// badRecordPolicy is the policy as rows are shaped by it: a transform skips unless
// it is told otherwise.
func (c *config) badRecordPolicy() string {
	switch {
	case c.badRecords == Fail:
		return failed
	case c.badRecords == Skip && !c.transform.set:
		return skipped
	}
	return ""
}

// samePolicy reports whether rows of one policy can stand for another.
func samePolicy(has, want string) bool { return has == want || has == failed }

// checkerOf returns the shaper of a table that decodes records and keeps them as
// they are.
func checkerOf[K, V any](topic string, key codec.Codec[K], value codec.Codec[V]) shaper {
	check := func(r *kgo.Record) (err error) {
		at := "key codec"
		defer func() {
			if v := recover(); v != nil {
				err = newPanicError(at, v)
			}
		}()
		if _, err = key.Decode(r.Key, codec.Meta{Topic: topic, Part: codec.Key, Headers: &r.Headers}); err != nil {
			return err
		}
		at = "value codec"
		_, err = value.Decode(r.Value, codec.Meta{Topic: topic, Part: codec.Value, Headers: &r.Headers})
		return err
	}
	return func(r *kgo.Record) ([]byte, verdict, error, error) {
		err := check(r)
		switch {
		case codec.IsRetryable(err):
			return nil, rejected, nil, err
		case err != nil:
			return nil, rejected, err, nil
		}
		return r.Value, keep, nil, nil
	}
}

// identity is what shapes the rows of a table with these options.
func (c *config) identity() store.Identity {
	return store.Identity{
		ReadUncommitted: c.uncommitted, Transform: c.transform.version,
		BadRecords: c.badRecordPolicy(), Headers: c.headers,
	}
}
