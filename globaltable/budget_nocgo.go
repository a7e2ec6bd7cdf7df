//go:build !cgo

package globaltable

// blockShare is the part of a budget that is for blocks and memtables. Without cgo
// they lie on the Go heap, which grows to twice what is in use before it is
// collected.
const blockShare = 8
