package scenario

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/kafkatest"
	"github.com/globaltable/enrich/internal/store"
)

// What goes wrong around a table: its disk, its process, its network, its clock,
// and who decodes its rows.

// fault does a command that makes something go wrong, or right again.
func (w *world) fault(d *datadriven.TestData) bool {
	what := ""
	if len(d.CmdArgs) > 0 {
		what = d.CmdArgs[0].Key
	}
	switch d.Cmd {
	case "disk":
		w.onDisk(what, d)
	case "crash":
		w.crash(d)
	case "network":
		w.net.set(what == "away")
	case "registry":
		w.registry.Store(what == "away")
	case "clock": // the rows were at the end at another time, as the clock says now
		by, err := time.ParseDuration(d.CmdArgs[0].Vals[0])
		require.NoError(w.t, err)
		if what == "back" {
			by = -by
		}
		w.clock(-by)
	case "broker":
		w.otherBroker(what)
	case "format":
		w.format(what)
	default:
		return false
	}
	return true
}

// disk is a file system in memory that can be full, or crash.
type disk struct {
	mem  *vfs.MemFS
	full atomic.Bool
	only string // in paths that have this
}

// MaybeError implements [errorfs.Injector].
func (k *disk) MaybeError(op errorfs.Op) error {
	if !k.full.Load() || !strings.Contains(op.Path, k.only) {
		return nil
	}
	switch op.Kind {
	case errorfs.OpCreate, errorfs.OpFileWrite, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo, errorfs.OpFilePreallocate:
		return syscall.ENOSPC
	}
	return nil
}

func (k *disk) String() string { return "disk" }

// onDisk puts the tables that are opened from now on a disk in memory, or makes
// that full, or gives it space.
func (w *world) onDisk(what string, d *datadriven.TestData) {
	switch what {
	case "":
		w.disk, w.dir = &disk{mem: vfs.NewCrashableMem()}, "/table"
	case "full":
		w.disk.only = ""
		if d.HasArg("only") {
			d.ScanArgs(w.t, "only", &w.disk.only)
		}
		w.disk.full.Store(true)
	case "ok":
		w.disk.full.Store(false)
	}
}

// crash ends the table as kill -9 and a power cut do: what was not made durable is
// gone. With p and at it waits until the position of a partition is durable.
func (w *world) crash(d *datadriven.TestData) {
	p, at := number(w.t, d, "p", 0), int64(number(w.t, d, "at", 0))
	var left *vfs.MemFS
	w.until("the position is durable", func() bool {
		left = w.disk.mem.CrashClone(vfs.CrashCloneCfg{})
		return at == 0 || w.durable(left, int32(p)) >= at
	})
	w.table.cancel()
	<-w.table.done
	_ = w.table.Close() // on a disk that nobody will see again
	w.table = nil
	w.disk = &disk{mem: left}
}

// durable is the position of a partition on a disk that a crash has left.
func (w *world) durable(left *vfs.MemFS, p int32) int64 {
	// It is opened on a copy: to open writes.
	root, err := store.OpenRoot(store.Options{FS: left.CrashClone(vfs.CrashCloneCfg{}), Dir: w.dir, Topic: w.topic})
	if err != nil {
		return -1
	}
	defer func() { require.NoError(w.t, root.Close()) }()
	gen, err := root.Current()
	if err != nil || gen == nil {
		return -1
	}
	return gen.State().Get(p).Next
}

// clock moves the times at which a closed table was last at the end.
func (w *world) clock(by time.Duration) {
	root, err := store.OpenRoot(store.Options{Dir: w.dir, Topic: w.topic})
	require.NoError(w.t, err)
	gen, err := root.Current()
	require.NoError(w.t, err)
	s := gen.State().Clone()
	for p := range s.Partitions {
		s.Partitions[p].AtEnd = s.Partitions[p].AtEnd.Add(by)
	}
	require.NoError(w.t, gen.Apply(nil, s))
	require.NoError(w.t, gen.Flush())
	require.NoError(w.t, root.Close())
}

// network is a way to the brokers that can be cut.
type network struct {
	mu    sync.Mutex
	away  bool
	conns map[net.Conn]struct{}
}

var errAway = errors.New("the network is away")

// set cuts the network, with all connections, or mends it.
func (n *network) set(away bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.away = away
	if away {
		for c := range n.conns {
			_ = c.Close()
		}
		clear(n.conns)
	}
}

func (n *network) dial(ctx context.Context, kind, addr string) (net.Conn, error) {
	n.mu.Lock()
	away := n.away
	n.mu.Unlock()
	if away {
		return nil, errAway
	}
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, kind, addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.away {
		_ = c.Close()
		return nil, errAway
	}
	if n.conns == nil {
		n.conns = map[net.Conn]struct{}{}
	}
	n.conns[c] = struct{}{}
	return c, nil
}

// otherBroker takes a fake that does not tell everything.
func (w *world) otherBroker(what string) {
	switch what {
	case "without-topic-ids":
		w.broker = kafkatest.Fake(w.t, kfake.MaxVersions(kversion.V2_7_0()))
	case "denies-configs":
		w.broker.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Err: kerr.TopicAuthorizationFailed})
	default:
		w.t.Fatalf("no broker %s", what)
	}
}

// format makes a closed table one of another release.
func (w *world) format(what string) {
	path := filepath.Join(w.dir, "TABLE")
	switch what {
	case "newer":
		var err error
		w.descriptor, err = os.ReadFile(path)
		require.NoError(w.t, err)
		require.NoError(w.t, os.WriteFile(path, []byte(`{"format":99}`), 0o600))
	case "older":
		require.NoError(w.t, os.CopyFS(w.dir, os.DirFS("../../globaltable/testdata/store-format-1")))
	case "as-it-was":
		now, err := os.ReadFile(path)
		require.NoError(w.t, err)
		require.Equal(w.t, `{"format":99}`, string(now), "nothing was touched")
		require.NoError(w.t, os.WriteFile(path, w.descriptor, 0o600))
	default:
		w.t.Fatalf("no format %s", what)
	}
}

// What values begin with that cannot be decoded, and those that the registry has to
// be asked for.
const garbled, schema2 = "garbled", "schema2"

// values is a codec of text that asks a registry, which may be away.
type values struct {
	codec.Codec[string]
	away *atomic.Bool
}

var (
	errRegistry = errors.New("the schema registry is away")
	errGarbled  = errors.New("garbled")
)

func (v values) Decode(b []byte, m codec.Meta) (string, error) {
	switch {
	case v.away.Load() && strings.HasPrefix(string(b), schema2):
		return "", codec.Retryable(errRegistry)
	case strings.HasPrefix(string(b), garbled):
		return "", errGarbled
	}
	return v.Codec.Decode(b, m)
}
