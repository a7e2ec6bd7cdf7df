package store

import (
	"bufio"
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// tableBuffer is how much of a table is written at once. Pebble's own writes its
// tables by 4 kB.
const tableBuffer = 256 << 10

// A tableFile is a table of a bulk load while it is written. It is an
// objstorage.Writable.
type tableFile struct {
	f   vfs.File
	buf *bufio.Writer
}

// newTableFile writes to a file by means of a buffer, which it takes over.
func newTableFile(f vfs.File, buf *bufio.Writer) *tableFile {
	buf.Reset(f)
	return &tableFile{f: f, buf: buf}
}

// Write implements objstorage.Writable.
func (t *tableFile) Write(p []byte) error {
	_, err := t.buf.Write(p)
	return err
}

// Finish makes the file durable and closes it.
func (t *tableFile) Finish() error {
	err := t.buf.Flush()
	if err == nil {
		err = t.f.Sync()
	}
	return errors.Join(err, t.f.Close())
}

// Abort closes the file.
func (t *tableFile) Abort() { _ = t.f.Close() }
