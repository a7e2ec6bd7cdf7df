package scenario

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestMain(m *testing.M) { os.Exit(kafkatest.Main(m)) }

func TestScenario(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			lines := strings.SplitN(string(text), "\n", 3)
			require.True(t, len(lines) == 3 && strings.HasPrefix(lines[0], "# ") && strings.HasSuffix(lines[0], "."), "the first line is a sentence")
			play := func(t *testing.T, b *kafkatest.Broker) {
				w := newWorld(t, b)
				datadriven.RunTest(t, file, func(t *testing.T, d *datadriven.TestData) string {
					w.t = t
					return w.do(d)
				})
			}
			switch lines[1] {
			case "# only kfake":
				t.Run("kfake", func(t *testing.T) { play(t, kafkatest.Fake(t)) })
			case "# only kafka":
				t.Run("kafka", func(t *testing.T) { play(t, kafkatest.Real(t)) })
			default:
				kafkatest.Each(t, play)
			}
		})
	}
}

func unquoted(s string) []byte {
	u, err := strconv.Unquote(`"` + s + `"`)
	if err != nil {
		return []byte(s)
	}
	return []byte(u)
}

func quoted(s string) string { return strings.Trim(strconv.Quote(s), `"`) }

func number(t *testing.T, d *datadriven.TestData, name string, otherwise int) int {
	if d.HasArg(name) {
		d.ScanArgs(t, name, &otherwise)
	}
	return otherwise
}

// do does one command and returns what it shows.
func (w *world) do(d *datadriven.TestData) string {
	t := w.t
	switch d.Cmd {
	case "topic":
		configs := kafkatest.Compacted()
		if d.HasArg("soon") {
			configs = kafkatest.CompactedSoon(0)
		}
		if d.HasArg("deletes") {
			configs["cleanup.policy"], configs["retention.ms"], configs["segment.ms"] = "compact,delete", "-1", "100"
		}
		if d.HasArg("name") {
			d.ScanArgs(t, "name", &w.topic)
			w.createNamed(configs)
			return ""
		}
		w.create(int32(number(t, d, "partitions", 1)), configs)
	case "put":
		w.put(d)
	case "many":
		w.many(d)
	case "txn":
		rs := w.records(d.Input)
		commit := d.HasArg("commit")
		kafkatest.ProduceTxn(t, w.broker, commit, rs...)
		if commit {
			w.fold(rs)
		}
	case "begin":
		w.begin(w.records(d.Input))
	case "end":
		w.end(d.HasArg("commit"))
	case "compact":
		w.compact(int64(number(t, d, "from", 0)), int64(number(t, d, "to", 0)))
	case "delete-records":
		w.deleteRecords(int32(number(t, d, "p", 0)), int64(number(t, d, "before", 0)), strings.Fields(d.Input))
	case "expire":
		w.expire(int64(number(t, d, "before", 0)), strings.Fields(d.Input))
	case "delete-topic":
		w.deleteTopic()
	case "create-again":
		w.createAgain(int32(number(t, d, "partitions", 1)))
	case "add-partitions":
		w.addPartitions(int32(number(t, d, "to", 2)))
	default:
		if w.fault(d) {
			return ""
		}
		if out, ok := w.joining(d); ok {
			return out
		}
		return w.ask(d)
	}
	return ""
}

// put writes the records of the lines, to a partition if there is one.
func (w *world) put(d *datadriven.TestData) {
	rs := w.records(d.Input)
	if p := number(w.t, d, "p", -1); p >= 0 {
		w.broker.ProduceTo(w.t, int32(p), rs...)
	} else {
		w.broker.Produce(w.t, rs...)
	}
	w.fold(rs)
}

// many writes rows that are numbered.
func (w *world) many(d *datadriven.TestData) {
	var rs []*kgo.Record
	for i := range number(w.t, d, "rows", 0) {
		rs = append(rs, &kgo.Record{Topic: w.topic, Key: fmt.Appendf(nil, "row%05d", i), Value: fmt.Appendf(nil, "value-%d", i)})
	}
	w.broker.Produce(w.t, rs...)
	w.fold(rs)
}

// options reads the table's options.
func (w *world) options(d *datadriven.TestData) []globaltable.Opt {
	var opts []globaltable.Opt
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "uncommitted":
			opts = append(opts, globaltable.ReadUncommitted())
		case "retention":
			age, err := time.ParseDuration(a.Vals[0])
			require.NoError(w.t, err)
			opts = append(opts, globaltable.DeleteRetention(age))
		case "reject": // values that begin so are rejected
			prefix := a.Vals[0]
			w.poison = prefix
			opts = append(opts, globaltable.Transform("reject "+prefix,
				func(r globaltable.Entry[string, string]) (string, bool, error) {
					if strings.HasPrefix(r.Value, prefix) {
						return "", false, errors.New("poison")
					}
					return r.Value, true, nil
				}))
		case "skip", "fail":
			policy := map[string]globaltable.BadRecordPolicy{"skip": globaltable.Skip, "fail": globaltable.Fail}[a.Key]
			opts = append(opts, globaltable.BadRecords(policy))
			w.poison = garbled
		case "flush":
			age, err := time.ParseDuration(a.Vals[0])
			require.NoError(w.t, err)
			opts = append(opts, globaltable.FlushInterval(age))
		case "fresh": // no answer may be older
			age, err := time.ParseDuration(a.Vals[0])
			require.NoError(w.t, err)
			opts = append(opts, globaltable.MaxStaleness(age))
		case "stale":
			age, err := time.ParseDuration(a.Vals[0])
			require.NoError(w.t, err)
			opts = append(opts, globaltable.AllowStale(age))
		default:
			w.t.Fatalf("no option %s", a.Key)
		}
	}
	return opts
}

// ask does a command to the table.
func (w *world) ask(d *datadriven.TestData) string {
	switch d.Cmd {
	case "open":
		if err := w.run(w.options(d)...); err != nil {
			return w.plain(err) + "\n"
		}
	case "ready":
		require.NoError(w.t, w.table.WaitReady(w.ctx()), "%s", stats{w.table})
		if d.HasArg("somehow") { // which way depends on how far it came
			return ""
		}
		s := w.table.Stats()
		return strings.TrimSpace(string(s.Decision)+" "+string(s.Reason)) + "\n"
	case "stop":
		if err := w.stop(); err != nil {
			return w.plain(err) + "\n"
		}
	case "await":
		return w.await(d)
	case "accept":
		require.NoError(w.t, w.table.AcceptShrink())
	case "rows":
		w.caughtUp()
		return w.show(w.rows(), w.want())
	case "old-rows": // of a generation that answers until another is complete
		rows := w.rows()
		return w.show(rows, rows)
	case "get":
		return w.get(strings.Fields(d.Input))
	case "applied": // rows, since it was opened
		return fmt.Sprintln(w.table.applied.Load())
	case "unknown":
		return fmt.Sprintln(strings.Join(w.table.Stats().Unknown, ", "))
	case "spread":
		return fmt.Sprintln(w.table.Stats().SpreadKeys)
	case "drops":
		return w.table.drops.String()
	default:
		w.t.Fatalf("no command %s", d.Cmd)
	}
	return ""
}

func (d *drops) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var b strings.Builder
	for _, r := range slices.Sorted(maps.Keys(d.n)) {
		fmt.Fprintf(&b, "%s %d\n", r, d.n[r])
	}
	if b.Len() == 0 {
		return "none\n"
	}
	return b.String()
}

// await waits for a state, a decision, or a row.
func (w *world) await(d *datadriven.TestData) string {
	var text string
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "state":
			w.until(a.String(), func() bool { text = w.state(); return strings.HasPrefix(text, a.Vals[0]) })
		case "reason":
			w.until(a.String(), func() bool { s := w.table.Stats(); text = string(s.Reason); return text == a.Vals[0] })
		case "refused": // to shrink
			w.until(a.String(), func() bool { _, ok := errors.AsType[*globaltable.ShrinkError](w.table.Status().Err); return ok })
			text = w.state()
		case "trouble": // what it waits for
			w.until(a.String(), func() bool {
				err := w.table.Status().Err
				return err != nil && strings.Contains(err.Error(), a.Vals[0])
			})
		case "age": // is that much, or more
			age, err := time.ParseDuration(a.Vals[0])
			require.NoError(w.t, err)
			w.until(a.String(), func() bool { return w.table.Lag().Age >= age })
		case "young":
			age, err := time.ParseDuration(a.Vals[0])
			require.NoError(w.t, err)
			w.until(a.String(), func() bool { return w.table.Lag().Age < age })
		case "refuses":
			w.until(a.String(), func() bool { _, _, err := w.table.Get(a.Vals[0]); return errors.Is(err, globaltable.ErrNotReady) })
		case "row":
			w.until(a.String(), func() bool { _, ok, err := w.table.Get(a.Vals[0]); return ok && err == nil })
		case "gone":
			w.until(a.String(), func() bool { _, ok, err := w.table.Get(a.Vals[0]); return !ok && err == nil })
		default:
			w.t.Fatalf("await what? %s", a.Key)
		}
	}
	if text == "" {
		return ""
	}
	return text + "\n"
}

func (w *world) state() string {
	s := w.table.Status()
	return strings.TrimSpace(s.State.String() + " " + string(s.Reason))
}

func (w *world) get(keys []string) string {
	var b strings.Builder
	for _, k := range keys {
		v, ok, err := w.table.Get(string(unquoted(k)))
		switch {
		case errors.Is(err, globaltable.ErrNotReady):
			fmt.Fprintf(&b, "%s: not ready\n", k)
		case err != nil:
			fmt.Fprintf(&b, "%s: %s\n", k, w.plain(err))
		case !ok:
			fmt.Fprintf(&b, "%s: absent\n", k)
		default:
			fmt.Fprintf(&b, "%s=%s\n", k, v)
		}
	}
	return b.String()
}
