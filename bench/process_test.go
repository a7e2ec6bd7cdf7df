package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// script is a process of the test binary that prints lines; after each that asks
// it reads a line. What follows exit is printed to standard error, and it fails.
func script(t *testing.T, lines ...string) *exec.Cmd {
	t.Helper()
	arg, err := json.Marshal(lines)
	require.NoError(t, err)
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), exe, scriptFlag, string(arg))
	return cmd
}

const scriptFlag = "-script"

// runScript is the other side of script.
func runScript(arg string) int {
	var lines []string
	if err := json.Unmarshal([]byte(arg), &lines); err != nil {
		return 2
	}
	in := bufio.NewReader(os.Stdin)
	for _, line := range lines {
		if rest, ok := strings.CutPrefix(line, "exit "); ok {
			fmt.Fprintln(os.Stderr, rest)
			return 1
		}
		fmt.Println(line)
		if strings.HasPrefix(line, askMark) {
			if _, err := in.ReadString('\n'); err != nil {
				return 3
			}
		}
	}
	return 0
}

func TestConverse(t *testing.T) {
	var asked []string
	line, err := converse(script(t, "noise", "? flow", "? still", `{"a":1}`), func(ask string) error {
		asked = append(asked, ask)
		return nil
	})
	require.NoError(t, err)
	require.JSONEq(t, `{"a":1}`, string(line))
	require.Equal(t, []string{"flow", "still"}, asked)
}

func TestConverseWithOneThatFails(t *testing.T) {
	_, err := converse(script(t, "exit it is broken"), nil)
	require.ErrorContains(t, err, "it is broken")
}

func TestConverseWithOneThatSaysNothing(t *testing.T) {
	_, err := converse(script(t, "noise"), nil)
	require.ErrorContains(t, err, "no result")
}

// One that asks for it is killed: it does not come to its end.
func TestConverseKills(t *testing.T) {
	line, err := converse(script(t, "? kill", `{"a":1}`), nil)
	require.NoError(t, err)
	require.Nil(t, line)
}

func TestConverseEndsWhenNobodyCanAnswer(t *testing.T) {
	broken := errors.New("no broker")
	_, err := converse(script(t, "? flow", `{"a":1}`), func(string) error { return broken })
	require.ErrorIs(t, err, broken)
}

func TestHelpersKnowWhatIsAsked(t *testing.T) {
	h := &helper{}
	require.ErrorContains(t, h.answer(t.Context(), "money"), "money")
	ended := false
	h.background(t.Context(), func(ctx context.Context) error {
		<-ctx.Done()
		ended = true
		return nil
	})
	require.NoError(t, h.close())
	require.True(t, ended)
	require.NoError(t, h.close(), "once")
}

func TestTail(t *testing.T) {
	require.Equal(t, "end", tailOf([]byte("\n end \n")))
	require.Len(t, tailOf([]byte(strings.Repeat("x", 5000))), tailBytes)
}

func TestAskNeedsAnAnswer(t *testing.T) {
	var out strings.Builder
	c := &child{in: bufio.NewReader(strings.NewReader("done\n")), out: &out}
	require.NoError(t, c.ask(askFlow))
	require.Equal(t, "? flow\n", out.String())
	require.ErrorContains(t, c.ask(askStill), "still")
}

func TestEvery(t *testing.T) {
	n := 0
	require.NoError(t, every(t.Context(), time.Microsecond, func() (bool, error) { n++; return n == 3, nil }))
	require.Equal(t, 3, n)
	wrong := errors.New("wrong")
	require.ErrorIs(t, every(t.Context(), time.Hour, func() (bool, error) { return false, wrong }), wrong)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, every(ctx, time.Hour, func() (bool, error) { return false, nil }), context.Canceled)
}

// The Java program takes the job as name=value: every name that it reads is there.
func TestKStreamsArguments(t *testing.T) {
	args := kstreamsArgs(job{Work: "lookup", Brokers: []string{"a:1", "b:2"}, Rows: 5, Goroutines: []int{1, 2}, Kinds: []string{"hot"}, Seconds: 0.5})
	require.Subset(t, args, []string{"work=lookup", "brokers=a:1,b:2", "rows=5", "threads=1,2", "kinds=hot", "beside=", "seconds=0.5", "tuned=false"})
	given := map[string]bool{}
	for _, a := range args {
		name, _, _ := strings.Cut(a, "=")
		given[name] = true
	}
	files, err := kstreamsSource.ReadDir("kstreams/src/main/java")
	require.NoError(t, err)
	for _, f := range files {
		source, err := kstreamsSource.ReadFile("kstreams/src/main/java/" + f.Name())
		require.NoError(t, err)
		for _, call := range []string{`job.get("`, `number("`, `list("`} {
			for _, rest := range strings.Split(string(source), call)[1:] {
				name, _, _ := strings.Cut(rest, `"`)
				require.True(t, given[name], "%s reads %s", f.Name(), name)
			}
		}
	}
}

// The program is built anew only when it has changed.
func TestUnpack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "peer")
	changed, err := unpack(dir)
	require.NoError(t, err)
	require.True(t, changed)
	require.FileExists(t, filepath.Join(dir, "pom.xml"))
	changed, err = unpack(dir)
	require.NoError(t, err)
	require.False(t, changed)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pom.xml"), []byte("other"), 0o600))
	changed, err = unpack(dir)
	require.NoError(t, err)
	require.True(t, changed)
}
