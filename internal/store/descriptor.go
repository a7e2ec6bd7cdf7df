package store

import (
	"encoding/json"
	"errors"
	"fmt"
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
	if err = json.Unmarshal(b, &v); err == nil && v.Format > formatVersion {
		return d, &NewerFormatError{Dir: dir, Has: v.Format, Know: formatVersion}
	}
	if err == nil {
		err = json.Unmarshal(b, &d)
	}
	if err != nil || d.Format < 1 {
		return d, fmt.Errorf("%w: %s in %s is not a table's descriptor; remove the directory to build the table anew", ErrCorrupt, descriptorName, dir)
	}
	d.Last = max(d.Last, d.Current, d.Building)
	return d, nil
}

// writeDescriptor replaces the descriptor in one step. An error is a
// *WriteError; either the old or the new one is there then.
func writeDescriptor(fsys vfs.FS, dir string, d *descriptor) error {
	name, tmp := fsys.PathJoin(dir, descriptorName), fsys.PathJoin(dir, tmpName)
	b, err := json.Marshal(d)
	if err == nil {
		err = writeFile(fsys, tmp, append(b, '\n'))
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
