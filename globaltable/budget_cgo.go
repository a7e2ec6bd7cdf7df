//go:build cgo

package globaltable

// blockShare is the part of a budget that is for blocks and memtables. With cgo
// they lie outside the Go heap.
const blockShare = 2
