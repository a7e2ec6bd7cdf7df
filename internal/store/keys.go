package store

// The key space. The first byte of a stored key says what the record is, so no
// user key, even an empty one or one of 0xFF bytes only, meets an internal one.
//
// The state record has the lowest key of all, and every batch writes it: a
// batch that overlaps with all others is kept in order by Pebble, also when
// batches and ingested files mix.
const (
	kindInternal byte = 0x00
	kindRow      byte = 0x01
	kindEnd      byte = 0x02 // first byte after all rows
)

var (
	stateKey    = []byte{kindInternal}
	identityKey = []byte{kindInternal, 0x01}
	rowsLower   = []byte{kindRow}
	rowsUpper   = []byte{kindEnd}
)

// appendRowKey appends the stored key of a user key.
func appendRowKey(dst, key []byte) []byte {
	return append(append(dst, kindRow), key...)
}

// userKey is the reverse of appendRowKey; ok is false for an internal key.
func userKey(stored []byte) (key []byte, ok bool) {
	if len(stored) == 0 || stored[0] != kindRow {
		return nil, false
	}
	return stored[1:], true
}

// prefixEnd returns the lowest stored key above all that start with prefix.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] != 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return rowsUpper
}
