package main

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

func memState(t *testing.T, fs vfs.FS) *state {
	t.Helper()
	o := stateOptions(false)
	o.FS = fs
	s, err := openState("alerts", o)
	require.NoError(t, err)
	return s
}

// hot returns a reading of a device whose limit is 30 and clears below 28.
func hot(partition int32, offset int64, device string, sec int, c float64) outcome {
	return outcome{
		partition: partition, offset: offset, found: true,
		device:  Device{device, "Room " + device, "Hotel", device + "@example.com", 30, 28},
		reading: Reading{Device: device, Time: time.Unix(int64(sec), 0).UTC(), TempF: c*9/5 + 32},
	}
}

// A mail may go out only for a transition that a crash cannot undo.
func TestTransitionIsDurableBeforeItsMailIsSeen(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := memState(t, fs)
	require.NoError(t, s.apply(hot(0, 0, "a", 0, 20), "example.com"))
	require.NoError(t, s.apply(hot(0, 1, "a", 1, 31), "example.com"))
	q, ok := s.head()
	require.True(t, ok)
	after := memState(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	again, ok := after.head()
	require.True(t, ok)
	require.Equal(t, q.letter, again.letter)
	require.Equal(t, int64(2), after.applied[0], "what was counted before it is there too")
	require.Equal(t, int64(2), after.snapshot().Readings)
	require.NoError(t, after.close())

	require.NoError(t, s.delivered())
	after = memState(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	_, ok = after.head()
	require.False(t, ok, "a mail that was delivered is not sent again")
	require.Equal(t, int64(1), after.snapshot().Mails)
	require.NoError(t, after.close())
	require.NoError(t, s.close())
}

// Whatever the moment of a crash, with Kafka handing out again what was not
// committed, the figures end up as without it.
func TestCrashesDoNotChangeTheFigures(t *testing.T) {
	const parts, perPart = 3, 400
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	var log [parts][]outcome
	for p := range parts {
		for i := range perPart {
			o := hot(int32(p), int64(i), fmt.Sprintf("%d-%d", p, rng.IntN(3)), i-rng.IntN(3), 20+20*rng.Float64())
			switch rng.IntN(10) {
			case 0:
				o.found = false
			case 1:
				o.bad = dropReading
			}
			log[p] = append(log[p], o)
		}
	}
	play := func(crashes int) (counters, []string) {
		fs := vfs.NewCrashableMem()
		s := memState(t, fs)
		var next, committed [parts]int
		var sent []string
		for {
			p := rng.IntN(parts)
			if next[p] < perPart {
				require.NoError(t, s.apply(log[p][next[p]], "example.com"))
				next[p]++
			} else if next == [parts]int{perPart, perPart, perPart} {
				break
			}
			switch rng.IntN(60) {
			case 0: // a commit
				upTo := next
				require.NoError(t, s.flush())
				committed = upTo
			case 1:
				if q, ok := s.head(); ok {
					sent = append(sent, q.letter.ID)
					require.NoError(t, s.delivered())
				}
			case 2:
				if crashes > 0 {
					crashes--
					clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
					require.NoError(t, s.close())
					fs, s, next = clone, memState(t, clone), committed
				}
			}
		}
		for q, ok := s.head(); ok; q, ok = s.head() {
			sent = append(sent, q.letter.ID)
			require.NoError(t, s.delivered())
		}
		c := s.snapshot().counters
		require.NoError(t, s.close())
		return c, sent
	}
	want, ids := play(0)
	require.Positive(t, want.Alerts)
	require.Positive(t, want.Late)
	require.Len(t, ids, int(want.Mails))
	got, again := play(15)
	require.Equal(t, want, got)
	require.ElementsMatch(t, ids, again, "every mail once")
}

func TestStateOfANewerVersionIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	s := memState(t, fs)
	require.NoError(t, s.db.Set([]byte(keyMeta), []byte(`{"format":2}`), pebble.Sync))
	require.NoError(t, s.db.Close())
	o := stateOptions(false)
	o.FS = fs
	_, err := openState("alerts", o)
	require.EqualError(t, err, "read the alert state in alerts: format 2 is not known to this version of roomalert, which writes 1")
}

func TestForeignKeysAreRefused(t *testing.T) {
	fs := vfs.NewMem()
	s := memState(t, fs)
	require.NoError(t, s.db.Set([]byte("zzz"), nil, pebble.Sync))
	require.NoError(t, s.db.Close())
	o := stateOptions(false)
	o.FS = fs
	_, err := openState("alerts", o)
	require.EqualError(t, err, `read the alert state in alerts: key "zzz": is not one of this program`)
}

func TestLoadsAreRemembered(t *testing.T) {
	fs := vfs.NewMem()
	s := memState(t, fs)
	require.False(t, s.loaded("a"))
	require.NoError(t, s.setLoaded("a"))
	require.NoError(t, s.close())
	s = memState(t, fs)
	require.True(t, s.loaded("a"))
	require.False(t, s.loaded("b"))
	require.NoError(t, s.close())
}
