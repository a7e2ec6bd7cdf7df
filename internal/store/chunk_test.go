package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// chunkModel is what a chunk of ops must come to: each key's last op.
func chunkModel(ops []op) (keys []string, last map[string][]byte) {
	last = map[string][]byte{}
	for _, o := range ops {
		if _, ok := last[o.key]; !ok {
			keys = append(keys, o.key)
		}
		last[o.key] = o.value
	}
	slices.Sort(keys)
	return keys, last
}

func fillChunk(c *chunk, ops []op) {
	for i, o := range ops {
		if o.value == nil {
			c.delete([]byte(o.key))
		} else {
			c.put([]byte(o.key), &Row{Offset: int64(i), Value: o.value})
		}
	}
}

// requireSorted expects a sorted chunk to hold the last op of each key, in the
// order of the keys.
func requireSorted(t *testing.T, c *chunk, ops []op) {
	t.Helper()
	keys, last := chunkModel(ops)
	require.Len(t, c.refs, len(keys))
	for i, want := range keys {
		key, ok := userKey(c.key(&c.refs[i]))
		require.True(t, ok)
		require.Equal(t, want, string(key), "place %d", i)
		stored, ok := c.row(&c.refs[i])
		require.Equal(t, last[want] != nil, ok, "%q", want)
		if ok {
			row, err := parseRow(stored)
			require.NoError(t, err)
			require.Equal(t, string(last[want]), string(row.Value), "%q", want)
			require.Equal(t, want, ops[row.Offset].key)
		}
	}
}

// keySets make keys that are hard to order by their first eight bytes.
var keySets = map[string]func(rng *rand.Rand) string{
	"few":           func(rng *rand.Rand) string { return trickyKeys[rng.IntN(len(trickyKeys))] },
	"numbers":       func(rng *rand.Rand) string { return fmt.Sprintf("dev-%08d", rng.IntN(5000)) },
	"common prefix": func(rng *rand.Rand) string { return strings.Repeat("p", 100) + fmt.Sprint(rng.IntN(3000)) },
	"one length":    func(rng *rand.Rand) string { return randomKey(rng, 12, 3) },
	"zeros":         func(rng *rand.Rand) string { return strings.Repeat("\x00", rng.IntN(20)) },
	"zeros behind":  func(rng *rand.Rand) string { return fmt.Sprint(rng.IntN(9)) + strings.Repeat("\x00", rng.IntN(12)) },
	"prefixes":      func(rng *rand.Rand) string { return "abcdefghijklmnopqrstuvwxyz"[:rng.IntN(27)] },
	"two letters":   func(rng *rand.Rand) string { return randomKey(rng, rng.IntN(24), 2) },
	"long tails":    func(rng *rand.Rand) string { return "12345678" + randomKey(rng, rng.IntN(12), 2) },
	"all bytes":     func(rng *rand.Rand) string { return randomKey(rng, rng.IntN(4), 256) },
	"one key":       func(*rand.Rand) string { return "k" },
	"empty key":     func(*rand.Rand) string { return "" },
}

func randomKey(rng *rand.Rand, n, letters int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.IntN(letters))
	}
	return string(b)
}

// TestChunkSort compares chunks of several sizes with a map whose keys are
// sorted. The chunk and the scratch memory are used again for each.
func TestChunkSort(t *testing.T) {
	var c chunk
	var scratch []ref
	rng := rand.New(rand.NewPCG(1, 2))
	for name, key := range keySets {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{0, 1, 2, 3, 50, radixFrom - 1, radixFrom, 3000, 700} {
				ops := make([]op, n)
				for i := range ops {
					ops[i].key = key(rng)
					if rng.IntN(5) > 0 {
						ops[i].value = fmt.Append(nil, i)
					}
				}
				c.reset(1 << 30)
				require.Zero(t, c.bytes())
				fillChunk(&c, ops)
				scratch = c.sort(scratch)
				requireSorted(t, &c, ops)
			}
		})
	}
}

// TestChunkKeepsWhatItWasGiven: nothing of the caller's is kept.
func TestChunkKeepsWhatItWasGiven(t *testing.T) {
	var c chunk
	key := []byte("key")
	row := Row{Timestamp: -5, Partition: 3, Offset: 1 << 40, Headers: []byte("h"), Value: []byte("value")}
	want := Row{Timestamp: -5, Partition: 3, Offset: 1 << 40, Headers: []byte("h"), Value: []byte("value")}
	c.put(key, &row)
	copy(key, "xxx")
	copy(row.Value, "xxxxx")
	copy(row.Headers, "x")
	c.sort(nil)
	stored, ok := c.row(&c.refs[0])
	require.True(t, ok)
	got, err := parseRow(stored)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Equal(t, "\x01key", string(c.key(&c.refs[0])))
}

func TestChunkCommonPrefix(t *testing.T) {
	for _, test := range []struct {
		keys []string
		want string
	}{
		{[]string{"abc"}, "abc"},
		{[]string{"abc", "abc"}, "abc"},
		{[]string{"abc", "abd", "ab"}, "ab"},
		{[]string{"abc", "abcd"}, "abc"},
		{[]string{"abcd", "abc", "abcdef"}, "abc"},
		{[]string{"abc", "x", "abc"}, ""},
		{[]string{"abc", ""}, ""},
		{[]string{"", "abc"}, ""},
	} {
		var c chunk
		for _, k := range test.keys {
			c.delete([]byte(k))
		}
		require.Equal(t, 1+len(test.want), c.common, "%q: the kind, and what is common", test.keys)
	}
}

// TestChunkGivesMemoryBack: what one large row took is not kept for ever.
func TestChunkGivesMemoryBack(t *testing.T) {
	var c chunk
	c.put([]byte("small"), &Row{Value: make([]byte, 1000)})
	c.reset(1 << 20)
	kept := cap(c.arena)
	require.Positive(t, kept, "memory is used again")
	c.put([]byte("large"), &Row{Value: make([]byte, 2<<20)})
	require.Greater(t, c.bytes(), 2<<20)
	c.reset(1 << 20)
	require.Zero(t, cap(c.arena))
	for range 100_000 {
		c.delete(nil)
	}
	c.reset(1 << 20)
	require.Zero(t, cap(c.refs))
}

// TestChunkOffsetsHaveNoBound: a row behind four gigabytes is not looked for at
// the beginning.
func TestChunkOffsetsHaveNoBound(t *testing.T) {
	c := chunk{arena: make([]byte, 100)}
	require.Panics(t, func() { c.key(&ref{at: 1<<32 + 10, key: 3}) })
}

func TestRowsThatAreTooLong(t *testing.T) {
	var c chunk
	require.False(t, c.tooLong(maxRecord, maxRecord))
	require.NoError(t, c.err)
	require.True(t, c.tooLong(maxRecord+1, 0))
	require.ErrorIs(t, c.err, errTooLong)
	c.reset(0)
	require.NoError(t, c.err)
	require.True(t, c.tooLong(0, maxRecord+1))
	require.ErrorContains(t, c.err, "0 and 2147483648 bytes")
}

func TestPrefixOf(t *testing.T) {
	sorted := []string{"", "\x00\x01", "\x01", "a", "a\x00\x00\x01", "abcdefgh", "abcdefgi", "b", "\xff", "\xff\xff\xff\xff\xff\xff\xff\xff"}
	for i := 1; i < len(sorted); i++ {
		require.Less(t, prefixOf([]byte(sorted[i-1])), prefixOf([]byte(sorted[i])), "%q and %q", sorted[i-1], sorted[i])
	}
	require.Equal(t, prefixOf([]byte("a")), prefixOf([]byte("a\x00")), "what their length decides")
	require.Equal(t, prefixOf([]byte("abcdefgh1")), prefixOf([]byte("abcdefgh2")), "what lies behind it")
}

// TestRadixSortIsStable, and gives back both pieces of memory.
func TestRadixSortIsStable(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, bits := range []int{0, 1, 8, 9, 33, 64} {
		refs := make([]ref, 1000)
		for i := range refs {
			if bits > 0 {
				refs[i].prefix = rng.Uint64() >> (64 - bits)
			}
			refs[i].at = uint64(i)
		}
		if bits == 0 {
			refs[1].prefix = 1 << 40 // a byte that one only has
		}
		want := slices.Clone(refs)
		slices.SortStableFunc(want, func(a, b ref) int {
			switch {
			case a.prefix < b.prefix:
				return -1
			case a.prefix > b.prefix:
				return 1
			}
			return 0
		})
		sorted, free := radixSort(refs, make([]ref, 3))
		require.Equal(t, want, sorted, "%d bits", bits)
		require.Len(t, free, len(refs))
		require.NotSame(t, &sorted[0], &free[0])
	}
}

// FuzzChunkSort takes ops out of bytes: a length, what is done, and a key that
// may begin with the one before.
func FuzzChunkSort(f *testing.F) {
	f.Add([]byte{}, uint16(0))
	f.Add([]byte("\x03abc\x83abd\x02ab\x00\x80"), uint16(0))
	f.Add([]byte("\x08aaaaaaaa\x41\x00\x42\x00\x00\xc1b"), uint16(600))
	f.Fuzz(func(t *testing.T, in []byte, more uint16) {
		var ops []op
		last := ""
		for len(in) > 0 {
			head := in[0]
			n := min(int(head&0x3f), len(in)-1)
			key := string(in[1 : 1+n])
			if head&0x40 != 0 {
				key = last + key
			}
			o := op{key: key}
			if head&0x80 == 0 {
				o.value = fmt.Append(nil, len(ops))
			}
			ops = append(ops, o)
			last, in = key[:min(len(key), 64)], in[1+n:]
		}
		// Enough of them to be sorted by counting.
		for i, once := 0, len(ops); once > 0 && i < int(more)%2000; i++ {
			o := ops[(i*7)%once]
			if o.value != nil {
				o.value = fmt.Append(nil, len(ops))
			}
			ops = append(ops, o)
		}
		var c chunk
		fillChunk(&c, ops)
		c.sort(nil)
		requireSorted(t, &c, ops)
	})
}
