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
