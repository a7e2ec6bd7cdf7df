package globaltable

import (
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

// needSpace are the operations that a full disk refuses.
var needSpace = []errorfs.OpKind{
	errorfs.OpCreate, errorfs.OpLink, errorfs.OpMkdirAll, errorfs.OpFilePreallocate, errorfs.OpFileWrite, errorfs.OpFileWriteAt,
	errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo,
}

// The disk becomes full at a random moment of each phase. Where the rows that
// answer cannot be written Run ends with a *WriteError; where those cannot that
// are built beside them, they are dropped, and the old ones go on answering. Run
// and Close return soon, and the next start, with space, has all rows.
func TestFullDiskInEveryPhase(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	for i, phase := range faultPhases {
		if phase.name == "close" {
			continue // TestInjectedIOErrors has it: nothing but Close may tell
		}
		t.Run(phase.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			w, closed := faultWorld(t, rng)
			dry := &faulty{world: w, phase: phase, f: &faults{}, disk: phase.start(w, closed)}
			dry.run()
			dry.heal()
			count := 0
			for _, k := range needSpace {
				count += dry.f.count[k]
			}
			require.Positive(t, count)
			ended, dropped, refused := 0, 0, 0
			for round := range 4 {
				n := 1
				if round > 0 {
					n += rng.IntN(count/2 + 1)
				}
				x := &faulty{world: w, phase: phase, f: &faults{kinds: needSpace, n: n, forever: true, err: syscall.ENOSPC}, disk: phase.start(w, closed)}
				// It has to notice by itself: caught up is not enough.
				x.phase.done = func(_ *world, r *replica) bool { return false }
				x.unnoticed = func(r *replica) {
					// A table without anything to write does not notice.
					if n, _ := x.f.hits(); n == 0 && isReady(nil, r) {
						w.now().put(1)
						_ = r.e.follower.Load().gen.Flush() // Run tells of its error
					}
				}
				x.run()
				met, where := x.f.hits()
				require.Positive(t, met, x)
				switch {
				case x.open != nil:
					refused++
				case phase.name == "rebuild":
					require.NoError(t, x.err, "%s (%s): the old rows are sound", x, where)
					if x.dropped > 0 {
						dropped++
					}
				default:
					write := &WriteError{}
					require.ErrorAs(t, x.err, &write, "%s (%s)", x, where)
					require.ErrorIs(t, x.err, syscall.ENOSPC)
					ended++
				}
				if round%2 == 1 {
					x.disk = x.disk.CrashClone(vfs.CrashCloneCfg{})
				}
				x.heal()
			}
			t.Logf("%s: Run ended %d times, Open refused %d times, a generation was dropped %d times", phase.name, ended, refused, dropped)
			if phase.name != "rebuild" {
				require.Positive(t, ended)
			}
		})
	}
}
