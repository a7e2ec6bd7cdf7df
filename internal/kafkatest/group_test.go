package kafkatest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClusterIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := newClusterID()
		require.False(t, strings.HasPrefix(id, "-"), id)
		raw, err := base64.RawURLEncoding.DecodeString(id)
		require.NoError(t, err)
		require.Len(t, raw, 16)
		require.False(t, seen[id])
		seen[id] = true
	}
}

func TestPortTaken(t *testing.T) {
	require.True(t, portTaken(fmt.Errorf("x\njava.net.BindException: Address already in use\n")))
	require.False(t, portTaken(errors.New("out of memory")))
}

func TestGroupWithoutJavaIsUnavailable(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := newGroup(1)
	require.ErrorIs(t, err, errUnavailable)
	require.ErrorContains(t, err, "java")
}

func TestEachNodeJoinsErrors(t *testing.T) {
	nodes := []*node{{props: properties{ID: 1}}, {props: properties{ID: 2}}, {props: properties{ID: 3}}}
	err := each(nodes, func(n *node) error {
		if n.props.ID == 2 {
			return nil
		}
		return fmt.Errorf("broken %d", n.props.ID)
	})
	require.ErrorContains(t, err, "broken 1")
	require.ErrorContains(t, err, "broken 3")
	require.NotContains(t, err.Error(), "broken 2")
}

func TestFailedGroupLeavesNoFolder(t *testing.T) {
	if !lockExcludes {
		t.Skip("needs a shell")
	}
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	java := filepath.Join(t.TempDir(), "java")
	require.NoError(t, os.WriteFile(java, []byte("#!/bin/sh\nexit 1\n"), 0o755))
	_, err := tryGroup(java, "nowhere", []int{1, 2})
	require.ErrorContains(t, err, "formatting")
	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	require.Empty(t, left)
}
