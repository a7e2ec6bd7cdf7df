package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// damageable returns a closed table with files on several levels, made of 600
// puts.
func damageable(t *testing.T) *vfs.MemFS {
	fs := vfs.NewMem()
	r := open(t, fs)
	g := create(t, r)
	for i := range 600 {
		put(t, g, int64(i), damageableKey(i), damageableValue(i))
		if i%150 == 149 {
			require.NoError(t, g.Flush())
		}
	}
	require.NoError(t, r.Close())
	return fs
}

func damageableKey(i int) string   { return fmt.Sprintf("key-%03d", i*7%400) }
func damageableValue(i int) string { return fmt.Sprintf("%0100d", i) }

// damageableRows returns the rows after the first n puts.
func damageableRows(n int64) map[string]string {
	m := map[string]string{}
	for i := range int(n) {
		m[damageableKey(i)] = damageableValue(i)
	}
	return m
}

// readEverything opens the table and reads it in every way there is. It returns
// the errors; an answer that differs from what the position says fails the test
// at once. The position may be an earlier one: damage at the end of Pebble's
// manifest looks as a crash does.
func readEverything(t *testing.T, fs vfs.FS, msg string) error {
	t.Helper()
	r, err := OpenRoot(testOptions(fs))
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	g, err := r.Current()
	if err != nil {
		return err
	}
	if g == nil {
		return errors.New("no generation")
	}
	next := g.State().Get(0).Next
	require.Zero(t, next%150, "%s: position %d was never flushed", msg, next)
	want := damageableRows(next)
	got, err := scanAll(g)
	if err == nil {
		require.Equal(t, want, got, msg)
	} else {
		for k, v := range got {
			require.Equal(t, want[k], v, msg)
		}
	}
	var keys [][]byte
	for k := range want {
		keys = append(keys, []byte(k))
	}
	slices.SortFunc(keys, slices.Compare)
	err = errors.Join(err, g.GetMany(keys, func(i int, row *Row, ok bool) error {
		if v := want[string(keys[i])]; !ok || v != string(row.Value) {
			t.Errorf("%s: %s is %q (%v), not %q", msg, keys[i], row.Value, ok, v)
		}
		return nil
	}))
	for _, k := range keys {
		v, ok, gerr := g.Get(k)
		err = errors.Join(err, gerr)
		if gerr == nil {
			require.True(t, ok, msg)
			require.Equal(t, want[string(k)], string(v.Value), msg)
			v.Close()
		}
	}
	if len(keys) > 0 {
		_, _, ok, lerr := g.Lookup(keys[0])
		require.True(t, ok || lerr != nil, msg)
	}
	return err
}

// TestDamagedFilesAreNeverAWrongAnswer flips bits in, cuts and deletes each file
// of a generation. The table then answers as its position says, or with
// ErrCorrupt.
func TestDamagedFilesAreNeverAWrongAnswer(t *testing.T) {
	healthy := damageable(t)
	noticed := map[string]int{}
	for _, name := range list(t, healthy, "/t/gen-000001") {
		path := "/t/gen-000001/" + name
		content := readFile(t, healthy, path)
		damage := map[string]func(fs *vfs.MemFS){
			"delete": func(fs *vfs.MemFS) { require.NoError(t, fs.Remove(path)) },
		}
		for i := range 12 {
			at := i * len(content) / 12
			if at >= len(content) {
				break
			}
			damage[fmt.Sprint("flip ", at)] = func(fs *vfs.MemFS) {
				b := slices.Clone(content)
				b[at] ^= 0x10
				require.NoError(t, writeFile(fs, path, b))
			}
			damage[fmt.Sprint("cut at ", at)] = func(fs *vfs.MemFS) {
				require.NoError(t, writeFile(fs, path, content[:at]))
			}
		}
		for how, do := range damage {
			fs := cloneFS(t, healthy)
			do(fs)
			msg := fmt.Sprint(name, ": ", how)
			if err := readEverything(t, fs, msg); err != nil {
				require.ErrorIs(t, err, ErrCorrupt, msg)
				noticed[name[strings.LastIndexByte(name, '.')+1:]]++
			}
			// However damaged, it can be dropped and built anew.
			r := open(t, fs)
			require.NoError(t, r.DropCurrent(), msg)
			put(t, create(t, r), 0, "a", "1")
			require.NoError(t, r.Close())
			require.Equal(t, []string{"gen-000002"}, slices.DeleteFunc(list(t, fs, "/t"), func(n string) bool { return !strings.HasPrefix(n, genPrefix) }), msg)
		}
	}
	require.Greater(t, noticed["sst"], 10)
}

// TestDamageThatIsFoundLaterFailsTheGeneration: its user learns of it without
// reading the damaged row himself, and nothing is written on top of it.
func TestDamageThatIsFoundLaterFailsTheGeneration(t *testing.T) {
	fs := vfs.NewMem()
	r := open(t, fs)
	g := create(t, r)
	value := make([]byte, 1000)
	for i := range 100 {
		_, _ = rand.NewChaCha8([32]byte{byte(i)}).Read(value) // never fails
		put(t, g, int64(i), fmt.Sprintf("k%02d", i), string(value))
	}
	require.NoError(t, r.Close())
	for _, name := range list(t, fs, "/t/gen-000001") {
		path := "/t/gen-000001/" + name
		if b := readFile(t, fs, path); strings.HasSuffix(name, ".sst") && len(b) > 50<<10 {
			// In the middle there are rows; the internal records come first, the
			// index last.
			b[len(b)/2] ^= 0xff
			require.NoError(t, writeFile(fs, path, b))
		}
	}
	o := testOptions(fs)
	// A compaction may come upon the damage before the test does.
	o.Tune = func(p *pebble.Options) { p.DisableAutomaticCompactions = true }
	r = openWith(t, o)
	g = current(t, r)
	require.Equal(t, int64(100), g.State().Get(0).Next)
	_, ok := get(t, g, "k00")
	require.True(t, ok, "what is not damaged is answered")
	require.NoError(t, g.Err())
	_, err := scanAll(g)
	require.ErrorIs(t, err, ErrCorrupt)
	<-g.Failed()
	require.ErrorIs(t, g.Err(), ErrCorrupt)
	require.ErrorContains(t, g.Err(), ".sst")
	require.ErrorIs(t, tryPut(g, 100, "a", "1"), ErrCorrupt)
	require.ErrorIs(t, g.Flush(), ErrCorrupt)
	_, ok = get(t, g, "k00")
	require.True(t, ok, "also afterwards")
	require.NoError(t, r.Discard(g))
	cur, err := r.Current()
	require.NoError(t, err)
	require.Nil(t, cur)
}

func TestReadErrors(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	err := g.readError(fmt.Errorf("block: %w", pebble.ErrCorruption))
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorIs(t, err, pebble.ErrCorruption)
	require.Equal(t, err, g.readError(err), "it is not wrapped twice")
	require.NotErrorIs(t, g.readError(syscall.EIO), ErrCorrupt)
	require.ErrorIs(t, g.readError(syscall.EIO), syscall.EIO)
	g.fail.set(&WriteError{Op: "write", Path: "x", Err: syscall.ENOSPC})
	require.Equal(t, g.Err(), g.readError(pebble.ErrCorruption), "a file may be missing because it could not be written")
}

// TestDamagedRowIsAnError stores what is no row.
func TestDamagedRowIsAnError(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	require.NoError(t, g.db.Set(appendRowKey(nil, []byte("a")), []byte{0x70, 1}, noSync))
	_, _, err := g.Get([]byte("a"))
	require.ErrorIs(t, err, ErrCorrupt)
	_, _, _, err = g.Lookup([]byte("a"))
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorIs(t, g.GetMany([][]byte{[]byte("a")}, func(int, *Row, bool) error { return nil }), ErrCorrupt)
	s, err := g.NewSnapshot()
	require.NoError(t, err)
	defer s.Close()
	_, _, err = s.Get([]byte("a"))
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorIs(t, s.Scan(nil, nil, func([]byte, *Row) bool { return true }), ErrCorrupt)
	require.ErrorIs(t, s.ScanPlaces(func([]byte, int32, int64) bool { return true }), ErrCorrupt)
}
