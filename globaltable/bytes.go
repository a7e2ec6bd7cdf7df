package globaltable

import "unsafe"

// Lookups see one memory as bytes for the store and as a string for the cache:
// a copy would be a good part of what a hot lookup costs. None of these results is
// changed, or kept for longer than what it was made of.

// asString returns b as a string.
func asString(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // see above
}

// asBytes returns s as bytes.
func asBytes(s string) []byte {
	return unsafe.Slice(unsafe.StringData(s), len(s)) //nolint:gosec // see above
}

// sameString returns a key that is a string, though its type does not say so.
func sameString[K any](key K) string {
	return *(*string)(unsafe.Pointer(&key)) //nolint:gosec // K is string
}
