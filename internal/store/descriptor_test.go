package store

import (
	"io/fs"
	"math"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

func descriptorBytes(t testing.TB, d descriptor) []byte {
	t.Helper()
	b, err := appendDescriptor(nil, &d)
	require.NoError(t, err)
	return b
}

func TestDescriptorRoundTrip(t *testing.T) {
	for _, d := range []descriptor{
		{Format: 1, Topic: "devices"},
		{Format: 1, Topic: "größe \" \n", Current: 3, Building: 4, Last: 7},
		{Format: 1, Current: math.MaxUint64, Last: math.MaxUint64},
	} {
		got, err := parseDescriptor(descriptorBytes(t, d))
		require.NoError(t, err)
		require.Equal(t, d, got)
	}
}

// TestDescriptorFileIsReadable pins the file's form: a person may look at it,
// and other releases have to read it.
func TestDescriptorFileIsReadable(t *testing.T) {
	mem := vfs.NewMem()
	r := open(t, mem)
	create(t, r)
	create(t, r)
	require.Equal(t, `{"format":1,"topic":"devices","current":1,"building":2,"last":2}`+"\ncrc32c 4f49d918\n", string(readFile(t, mem, "/t/TABLE")))
}

// TestAnyFlippedBitOfADescriptorIsSeen: a flipped bit in a number would make
// the current generation an orphan.
func TestAnyFlippedBitOfADescriptorIsSeen(t *testing.T) {
	b := descriptorBytes(t, descriptor{Format: 1, Topic: "devices", Current: 3, Building: 5, Last: 7})
	for i := range len(b) * 8 {
		bad := slices.Clone(b)
		bad[i/8] ^= 1 << (i % 8)
		_, err := parseDescriptor(bad)
		require.Error(t, err, "bit %d", i)
	}
	for i := range b {
		_, err := parseDescriptor(b[:i])
		require.Error(t, err, "cut at %d", i)
	}
	_, err := parseDescriptor(append(b, '\n'))
	require.Error(t, err)
}

func TestContradictoryDescriptorIsDamaged(t *testing.T) {
	for _, d := range []descriptor{{}, {Format: -1}, {Format: 1, Current: 2, Last: 1}, {Format: 1, Building: 2, Last: 1}} {
		_, err := parseDescriptor(descriptorBytes(t, d))
		require.ErrorContains(t, err, "contradict")
	}
}

func TestReadDescriptorErrors(t *testing.T) {
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll("/t", dirMode))
	_, err := readDescriptor(mem, "/t")
	require.ErrorIs(t, err, fs.ErrNotExist)
	for _, content := range []string{"", "{", "{}", "null", "crc32c 00000000\n", `{"format":1,"topic":"devices","last":0}` + "\n", "\x00\x00\x00"} {
		require.NoError(t, writeFile(mem, "/t/TABLE", []byte(content)))
		_, err := readDescriptor(mem, "/t")
		require.ErrorIs(t, err, ErrCorrupt, "%q", content)
		require.ErrorContains(t, err, "/t")
		require.ErrorContains(t, err, "remove the directory")
		_, err = OpenRoot(testOptions(mem))
		require.ErrorIs(t, err, ErrCorrupt, "%q", content)
		require.Equal(t, content, string(readFile(t, mem, "/t/TABLE")), "it is not overwritten")
	}
	// Only the format of a newer release's file is known.
	for _, content := range []string{`{"format":2}`, `{"format":99,"topic":7,"current":{}}` + "\nmore\n"} {
		require.NoError(t, writeFile(mem, "/t/TABLE", []byte(content)))
		_, err := readDescriptor(mem, "/t")
		var e *NewerFormatError
		require.ErrorAs(t, err, &e, "%q", content)
		require.Equal(t, formatVersion, e.Know)
	}
}

func TestGenerationNames(t *testing.T) {
	for _, n := range []uint64{0, 1, 999_999, 1_000_000, math.MaxUint64} {
		got, ok := genNumber(genName(n))
		require.True(t, ok)
		require.Equal(t, n, got)
	}
	for _, name := range []string{"", "gen-", "gen-1", "gen-0000001", "gen-+00001", "gen-notes", "gen-000001.bak", "000001", "GEN-000001", "gen-99999999999999999999"} {
		_, ok := genNumber(name)
		require.False(t, ok, name)
	}
}

func FuzzParseDescriptor(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("{}\ncrc32c 00000000\n"))
	f.Add(descriptorBytes(f, descriptor{Format: 1, Topic: "devices", Current: 1, Last: 2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseDescriptor(b)
		if err != nil {
			require.Equal(t, descriptor{}, d)
			return
		}
		got, err := parseDescriptor(descriptorBytes(t, d))
		require.NoError(t, err)
		require.Equal(t, d, got)
	})
}
