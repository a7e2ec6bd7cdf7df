package store

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRowKeysLieBetweenTheirBounds(t *testing.T) {
	for _, k := range [][]byte{nil, {0}, {0xff}, bytes.Repeat([]byte{0xff}, 40), []byte("dev-1")} {
		stored := appendRowKey(nil, k)
		require.True(t, bytes.Compare(stored, rowsLower) >= 0 && bytes.Compare(stored, rowsUpper) < 0)
		require.True(t, bytes.Compare(identityKey, stored) < 0)
		got, ok := userKey(stored)
		require.True(t, ok)
		require.True(t, bytes.Equal(k, got))
	}
	_, ok := userKey(identityKey)
	require.False(t, ok)
	_, ok = userKey(nil)
	require.False(t, ok)
	require.True(t, bytes.Compare(stateKey, identityKey) < 0, "the state record has the lowest key")
}

func TestPrefixEnd(t *testing.T) {
	require.Equal(t, []byte{1, 3}, prefixEnd([]byte{1, 2}))
	require.Equal(t, []byte{2}, prefixEnd([]byte{1, 0xff, 0xff}))
	require.Equal(t, rowsUpper, prefixEnd([]byte{0xff}))
}

// TestPrefixEndIsTheLowestAbove compares with every stored key of two bytes.
func TestPrefixEndIsTheLowestAbove(t *testing.T) {
	for p := range 256 {
		prefix := appendRowKey(nil, []byte{byte(p)})
		end := prefixEnd(prefix)
		for a := range 256 {
			for _, key := range [][]byte{appendRowKey(nil, []byte{byte(a)}), appendRowKey(nil, []byte{byte(a), 0xff})} {
				inside := bytes.Compare(key, prefix) >= 0 && bytes.Compare(key, end) < 0
				require.Equal(t, bytes.HasPrefix(key, prefix), inside, "%x in %x", key, prefix)
			}
		}
	}
	prefix := []byte{1, 7}
	prefixEnd(prefix)
	require.Equal(t, []byte{1, 7}, prefix, "the prefix is not changed")
}

func FuzzRowKeys(f *testing.F) {
	f.Add([]byte{}, []byte{0})
	f.Add([]byte{0xff}, []byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		ka, kb := appendRowKey(nil, a), appendRowKey(nil, b)
		require.Equal(t, bytes.Compare(a, b), bytes.Compare(ka, kb), "stored keys sort as user keys do")
		end := prefixEnd(ka)
		require.Equal(t, bytes.HasPrefix(b, a), bytes.Compare(kb, ka) >= 0 && bytes.Compare(kb, end) < 0)
	})
}
