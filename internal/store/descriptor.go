package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// formatVersion is the version of the directory's layout, of the key
	// space, of all records and of Pebble's files together.
	formatVersion = 1

	descriptorName = "TABLE"
	tmpName        = descriptorName + ".tmp"
	lockName       = "LOCK"
	genPrefix      = "gen-"
)

// descriptor is the content of the file TABLE.
type descriptor struct {
	// Format is formatVersion.
	Format int `json:"format"`
	// Topic is the topic whose table this is.
	Topic string `json:"topic"`
	// Current is the number of the generation that answers; 0 if none.
	Current uint64 `json:"current"`
	// Building is the number of the one that is built beside it; 0 if none.
	Building uint64 `json:"building,omitempty"`
	// Whole is the number of the last generation that was complete once: it
	// had all that its topic held. 0 if none was.
	Whole uint64 `json:"whole,omitempty"`
	// Last is the highest number ever given to a generation.
	Last uint64 `json:"last"`
}

// names reports whether generation n is in use.
func (d *descriptor) names(n uint64) bool { return n == d.Current || n == d.Building }

// readDescriptor returns an error that wraps fs.ErrNotExist if there is none.
func readDescriptor(fsys vfs.FS, dir string) (d descriptor, err error) {
	f, err := fsys.Open(fsys.PathJoin(dir, descriptorName))
	if err != nil {
		return d, err
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return d, fmt.Errorf("store: cannot read %s in %s: %w", descriptorName, dir, err)
	}
	// The format comes first: what else is in a newer one is not known.
	var v struct {
		Format int `json:"format"`
	}
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&v); err == nil && v.Format > formatVersion {
		return d, &NewerFormatError{Dir: dir, Has: v.Format, Know: formatVersion}
	}
	if d, err = parseDescriptor(b); err != nil {
		return d, fmt.Errorf("%w: %s in %s is not a table's descriptor (%w); remove the directory to build the table anew", ErrCorrupt, descriptorName, dir, err)
	}
	return d, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendDescriptor appends the file's content: a line of JSON and a line with
// its checksum. A flipped bit in it must not make a generation an orphan.
func appendDescriptor(dst []byte, d *descriptor) ([]byte, error) {
	b, err := json.Marshal(d)
	return fmt.Appendf(dst, "%s\ncrc32c %08x\n", b, crc32.Checksum(b, castagnoli)), err
}

// parseDescriptor is the reverse of appendDescriptor.
func parseDescriptor(b []byte) (d descriptor, err error) {
	line, rest, _ := bytes.Cut(b, []byte("\n"))
	if want := fmt.Sprintf("crc32c %08x\n", crc32.Checksum(line, castagnoli)); string(rest) != want {
		return d, errors.New("its checksum does not match")
	}
	if err := json.Unmarshal(line, &d); err != nil {
		return descriptor{}, err
	}
	if d.Format < 1 || d.Last < max(d.Current, d.Building) {
		return descriptor{}, errors.New("its numbers contradict each other")
	}
	return d, nil
}

// writeDescriptor replaces the descriptor in one step. An error is a
// *WriteError; either the old or the new one is there then.
func writeDescriptor(fsys vfs.FS, dir string, d *descriptor) error {
	name, tmp := fsys.PathJoin(dir, descriptorName), fsys.PathJoin(dir, tmpName)
	b, err := appendDescriptor(nil, d)
	if err == nil {
		err = writeFile(fsys, tmp, b)
	}
	if err == nil {
		err = fsys.Rename(tmp, name)
	}
	if err == nil {
		err = syncDir(fsys, dir)
	}
	if err != nil {
		return &WriteError{Op: "write", Path: name, Err: err}
	}
	return nil
}

func writeFile(fsys vfs.FS, name string, b []byte) error {
	f, err := fsys.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// genName returns the name of a generation's directory.
func genName(n uint64) string { return fmt.Sprintf("%s%06d", genPrefix, n) }

// genNumber is the reverse of genName; ok is false for any other name.
func genNumber(name string) (n uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, genPrefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && genName(n) == name
}
