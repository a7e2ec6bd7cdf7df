package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/internal/kafkatest"
)

// Every history ends in what is right for it. The other peers are not asked.
func TestTruthOfOurs(t *testing.T) {
	b := kafkatest.Real(t)
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"-truth", "-peers", "enrich", "-brokers", strings.Join(b.Addrs(), ","), "-out", t.TempDir()}, strings.NewReader(""), &out, &errs)
	require.Zero(t, code, "%s%s", &out, &errs)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, len(histories)+3)
	require.Equal(t, "truth ours=11/11", lines[len(lines)-1])
}

func TestTruthNeedsARealBroker(t *testing.T) {
	var out, errs bytes.Buffer
	require.Equal(t, 1, run(t.Context(), []string{"-truth", "-fake", "-out", t.TempDir()}, strings.NewReader(""), &out, &errs))
	require.Contains(t, errs.String(), "-brokers")
	require.Empty(t, out.String())
}

func TestTruthTable(t *testing.T) {
	var out, errs bytes.Buffer
	table := truthTable{peers: truthPeers, right: map[string]int{"ours": len(histories)}, absent: map[string]bool{}, stdout: &out, stderr: &errs}
	table.absent["kstreams"] = true
	seen, err := table.play(t.Context(), truthPeer{name: "kstreams"}, nil) // it is not asked again
	require.NoError(t, err)
	require.Equal(t, "absent", seen)
	require.NoError(t, table.sum())
	require.Equal(t, "truth ours=11/11 kstreams=absent goka=0/11\n", out.String())
	table.right["ours"]--
	require.Error(t, table.sum())
}
