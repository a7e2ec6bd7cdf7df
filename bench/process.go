package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// command is the process that does a job.
func command(ctx context.Context, j job) (*exec.Cmd, error) {
	if j.Peer == peerKStreams {
		return kstreamsCommand(ctx, j)
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	arg, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, exe, childFlag, string(arg)), nil
}

// errKilled is how a process ends that asked for it.
var errKilled = errors.New("killed")

// arenas bounds what glibc keeps of freed memory: without it, a store in C costs
// everybody who has one a third more.
const arenas = "MALLOC_ARENA_MAX"

// converse runs a process, answers what it asks by answer, and returns the line
// of JSON it ends with; nil if it asked to be killed, and was.
func converse(cmd *exec.Cmd, answer func(ask string) error) ([]byte, error) {
	if os.Getenv(arenas) == "" {
		cmd.Env = append(cmd.Environ(), arenas+"=1")
	}
	var errs tailBuffer
	cmd.Stderr = &errs
	cmd.WaitDelay = time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var result []byte
	lines := bufio.NewReader(out)
	for {
		line, readErr := lines.ReadString('\n')
		ask, asks := strings.CutPrefix(strings.TrimSpace(line), askMark)
		switch {
		case asks && ask == askKill:
			err = errors.Join(errKilled, cmd.Process.Kill())
		case asks:
			if err = answer(ask); err == nil {
				_, err = fmt.Fprintln(in, "done")
			}
		case strings.HasPrefix(line, "{"):
			result = []byte(line)
		}
		if err != nil {
			_ = cmd.Process.Kill() // an error if it has ended already
			break
		}
		if readErr != nil {
			if !errors.Is(readErr, io.EOF) {
				err = readErr
			}
			break
		}
	}
	_ = in.Close() // an error if the process has ended
	waitErr := cmd.Wait()
	switch {
	case errors.Is(err, errKilled):
		return nil, nil
	case err != nil:
		return nil, err
	case waitErr != nil:
		return nil, fmt.Errorf("%w: %s", waitErr, errs.String())
	case result == nil:
		return nil, fmt.Errorf("it printed no result: %s", errs.String())
	}
	return result, nil
}

// measureProcess runs a job in a process of its own.
func measureProcess(ctx context.Context, j job, rate int) (s sample, err error) {
	cmd, err := command(ctx, j)
	if err != nil {
		return nil, err
	}
	h := &helper{job: j, rate: rate}
	line, err := converse(cmd, func(ask string) error { return h.answer(ctx, ask) })
	if err = errors.Join(err, h.close()); err != nil {
		return nil, err
	}
	s = sample{}
	if line != nil {
		if err := json.Unmarshal(line, &s); err != nil {
			return nil, fmt.Errorf("what it printed is no result: %w: %s", err, line)
		}
	}
	for name, value := range h.figures {
		s[name] = value
	}
	return s, nil
}

// A helper does what a child asks for.
type helper struct {
	job     job
	rate    int
	figures sample
	stop    []func() error
}

func (h *helper) answer(ctx context.Context, ask string) error {
	j := h.job
	switch ask {
	case askFlow:
		h.background(ctx, func(ctx context.Context) error { return flow(ctx, j.Brokers, j.Topic, j.Rows, h.rate) })
	case askStill:
		return h.close()
	case askBurst:
		h.background(ctx, func(ctx context.Context) error {
			took, err := writeBurst(context.WithoutCancel(ctx), j.Brokers, j.Topic, j.Rows, j.Updates, j.Burst)
			h.figures = sample{"produced_per_s": float64(j.Updates) / took.Seconds()}
			return err
		})
	case askRecreate:
		if err := deleteTopic(ctx, j.Brokers, j.Topic); err != nil {
			return err
		}
		return makeRows(ctx, j.Brokers, j.Topic, rowsTopic{Rows: j.Rows}, nil)
	default:
		return fmt.Errorf("it asks for %q", ask)
	}
	return nil
}

// background does something until it is done, or until close.
func (h *helper) background(ctx context.Context, fn func(context.Context) error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }()
	h.stop = append(h.stop, func() error { cancel(); return <-done })
}

// close ends what goes on in the background and waits for it.
func (h *helper) close() error {
	var err error
	for _, stop := range h.stop {
		err = errors.Join(err, stop())
	}
	h.stop = nil
	return err
}

// A tailBuffer keeps the end of what is written to it.
type tailBuffer struct{ b []byte }

const tailBytes = 1000

func (t *tailBuffer) Write(b []byte) (int, error) {
	t.b = append(t.b, b...)
	t.b = t.b[max(0, len(t.b)-tailBytes):]
	return len(b), nil
}

func (t *tailBuffer) String() string { return string(bytes.TrimSpace(t.b)) }
