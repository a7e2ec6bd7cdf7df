package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"
)

// childFlag makes the program one measurement: its argument is a job.
const childFlag = "-child"

// job is one measurement.
type job struct {
	Peer    string
	Brokers []string
	Topic   string
	Rows    int
	Lookups int
	Dir     string
}

// sample is what a measurement found.
type sample struct {
	// Seconds is the time from the start to the moment when the table is
	// complete.
	Seconds float64 `json:"seconds"`
	// LookupNs is the time of one lookup of a random key, on one goroutine;
	// 0 if there were none.
	LookupNs int64 `json:"lookup_ns"`
	// RSSKB is the peak of the process's memory, lookups included; 0 where
	// the system does not tell.
	RSSKB int64 `json:"rss_kb"`
}

// table is a filled table.
type table interface {
	get(key string) (value []byte, ok bool, err error)
	close() error
}

// fillers make the tables of the peers that are written in Go. They return when
// the table is complete.
var fillers = map[string]func(context.Context, job) (table, error){
	"raw":    fillRaw,
	"enrich": fillEnrich,
	"gomap":  fillGoMap,
	"goka":   fillGoka,
}

// measure runs a job in a process of its own.
func measure(ctx context.Context, name string, j job) (s sample, err error) {
	defer func() { err = joined(err, os.RemoveAll(j.Dir)) }()
	var cmd *exec.Cmd
	if name == "kstreams" {
		if cmd, err = kstreams(ctx, j); err != nil {
			return s, err
		}
	} else {
		exe, err := os.Executable()
		if err != nil {
			return s, err
		}
		arg, err := json.Marshal(j)
		if err != nil {
			return s, err
		}
		cmd = exec.CommandContext(ctx, exe, childFlag, string(arg))
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return s, fmt.Errorf("%w: %s", err, tail(errs.Bytes()))
	}
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		return s, fmt.Errorf("what it printed is no result: %w: %s", err, tail(out.Bytes()))
	}
	return s, nil
}

// tail returns the end of what a process printed.
func tail(b []byte) []byte {
	b = bytes.TrimSpace(b)
	return b[max(0, len(b)-500):]
}

func runChild(ctx context.Context, arg string, stdout io.Writer) error {
	var j job
	if err := json.Unmarshal([]byte(arg), &j); err != nil {
		return err
	}
	fill := fillers[j.Peer]
	if fill == nil {
		return fmt.Errorf("there is no peer %q", j.Peer)
	}
	began := time.Now()
	t, err := fill(ctx, j)
	if err != nil {
		return err
	}
	s := sample{Seconds: time.Since(began).Seconds()}
	if t != nil {
		if s.LookupNs, err = lookUp(t, j); err != nil {
			return err
		}
		if err := t.close(); err != nil {
			return err
		}
	}
	s.RSSKB = peakRSS()
	return json.NewEncoder(stdout).Encode(s)
}

// lookUp looks random keys up, twice, and returns what one took the second time.
func lookUp(t table, j job) (ns int64, err error) {
	if j.Lookups == 0 {
		return 0, nil
	}
	rng := rand.New(rand.NewPCG(3, 4))
	keys := make([]string, j.Lookups)
	for i := range keys {
		keys[i] = key(rng.IntN(j.Rows))
	}
	for range 2 {
		began := time.Now()
		for _, k := range keys {
			_, ok, err := t.get(k)
			if err == nil && !ok {
				err = errors.New("it is not there")
			}
			if err != nil {
				return 0, fmt.Errorf("key %s: %w", k, err)
			}
		}
		ns = time.Since(began).Nanoseconds() / int64(j.Lookups)
	}
	runtime.KeepAlive(keys)
	return ns, nil
}

// peakRSS returns the peak of this process's memory in KiB.
func peakRSS() int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, ok := bytes.Cut(b, []byte("VmHWM:"))
	if !ok {
		return 0
	}
	line, _, _ := bytes.Cut(rest, []byte("kB"))
	n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
