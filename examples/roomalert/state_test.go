package main

import (
	"bytes"
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

func TestStateCountsEveryReadingOnce(t *testing.T) {
	fs := vfs.NewMem()
	s := memState(t, fs)
	lost := hot(0, 1, "x", 0, 0)
	lost.found = false
	bad := hot(0, 2, "x", 0, 0)
	bad.bad = dropReading
	late := hot(0, 5, "a", 1, 20)
	feed := []outcome{hot(0, 0, "a", 2, 31), lost, bad, hot(0, 4, "a", 3, 27), late, hot(1, 0, "b", 1, 31)}
	for range 2 { // Kafka hands them out again
		for _, o := range feed {
			require.NoError(t, s.apply(o, "example.com"))
		}
	}
	want := counters{Readings: 6, Joined: 4, Unmatched: 1, Dropped: map[string]int64{dropReading: 1}, Late: 1, Alerts: 2, Resolved: 1}
	require.Equal(t, want, s.snapshot().counters)
	require.Equal(t, int64(1), want.dropped())

	group := s.group()
	require.Regexp(t, `^roomalert-[0-9a-f]{16}$`, group)
	require.NoError(t, s.close())
	s = memState(t, fs)
	require.Equal(t, group, s.group())
	for _, o := range feed {
		require.NoError(t, s.apply(o, "example.com"))
	}
	n := s.snapshot()
	require.Equal(t, want, n.counters)
	require.Equal(t, 3, n.waiting)
	require.Equal(t, "readings=6 joined=4 unmatched=1 dropped=1 alerts=2 resolved=1 mails=0", n.line())
	require.NoError(t, s.close())
}

func TestOutboxIsInOrderAndSurvives(t *testing.T) {
	fs := vfs.NewMem()
	s := memState(t, fs)
	for i, c := range []float64{31, 27, 32, 26} {
		require.NoError(t, s.apply(hot(0, int64(i), "a", i, c), "example.com"))
	}
	<-s.wake
	require.NoError(t, s.close())

	s = memState(t, fs)
	<-s.wake // what an earlier run left is to be sent
	take := func() letter {
		q, ok := s.head()
		require.True(t, ok)
		return q.letter
	}
	first := take()
	require.Equal(t, raised, first.Kind)
	require.NoError(t, s.delivered())
	second := take()
	require.Equal(t, resolved, second.Kind)
	require.Equal(t, first.ID, second.InReplyTo)
	require.NoError(t, s.refused("550 no such user"))
	third := take()
	require.Equal(t, raised, third.Kind)
	require.NotEqual(t, first.ID, third.ID, "another episode")
	require.Empty(t, third.InReplyTo)
	require.NoError(t, s.apply(hot(0, 4, "a", 4, 33), "example.com"))
	require.NoError(t, s.close())

	s = memState(t, fs)
	require.Equal(t, third, take())
	n := s.snapshot()
	require.Equal(t, int64(1), n.Mails, "a refused mail is not one that was delivered")
	require.Equal(t, 3, n.waiting)
	require.Equal(t, []failedMail{{second, "550 no such user"}}, n.failed)
	for range 2 {
		require.NoError(t, s.delivered())
	}
	require.Equal(t, raised, take().Kind)
	require.NoError(t, s.delivered())
	_, ok := s.head()
	require.False(t, ok)
	require.NoError(t, s.close())
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
	require.EqualValues(t, len(ids), want.Mails)
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

func TestStateBelongsToATopic(t *testing.T) {
	fs := vfs.NewMem()
	s := memState(t, fs)
	here := place{cluster: "c1", topic: "readings", topicID: "t1", ends: map[int32]int64{0: 10}}
	require.NoError(t, s.belongTo(place{topic: "readings", ends: here.ends}, "dir"), "brokers that tell no ids")
	require.NoError(t, s.belongTo(here, "dir"))
	require.NoError(t, s.close())
	s = memState(t, fs)
	require.NoError(t, s.belongTo(here, "dir"))
	require.NoError(t, s.belongTo(place{topic: "readings", ends: here.ends}, "dir"), "nor do these")

	change := func(fn func(*place)) place { p := here; fn(&p); return p }
	for want, p := range map[string]place{
		"the state in dir is about topic readings, not other. Give another -state, or remove dir to start anew":                                                         change(func(p *place) { p.topic = "other" }),
		"the state in dir is about topic readings of cluster c1, but these brokers are cluster c2. Give another -state, or remove dir to start anew":                    change(func(p *place) { p.cluster = "c2" }),
		"the state in dir is about topic readings of id t1, but the topic was deleted and created again since, as t2. Give another -state, or remove dir to start anew": change(func(p *place) { p.topicID = "t2" }),
	} {
		require.EqualError(t, s.belongTo(p, "dir"), want)
	}
	require.NoError(t, s.apply(hot(0, 10, "a", 1, 20), "example.com"))
	require.EqualError(t, s.belongTo(here, "dir"), "the state in dir has seen partition 0 of topic readings up to offset 11, but the partition ends at 10: "+
		"the brokers have lost readings. Give another -state, or remove dir to start anew")
	here.ends[0] = 11
	require.NoError(t, s.belongTo(here, "dir"))
	require.NoError(t, s.close())
}

func TestSummary(t *testing.T) {
	var out, errs bytes.Buffer
	a := &app{con: newConsole(&out, &errs, false), brokers: []string{"127.0.0.1:1"}}
	a.printSummary(&snapshot{
		counters: counters{Readings: 9, Joined: 4, Unmatched: 2, Dropped: map[string]int64{"b": 1, "a": 2}, Late: 1, Alerts: 2, Resolved: 1, Mails: 1},
		waiting:  1, failed: []failedMail{{sampleLetter(raised), "550 no"}},
	}, true)
	require.Equal(t, `1 mails were refused by the SMTP server for good:
  to front@example.com: Alert: Room <204> & Süd, Hotel Aurora is at 30.2 °C, limit 30 °C: 550 no
2 readings dropped: a
1 readings dropped: b
1 readings came later than a newer one of their device, and moved nothing
1 mails are waiting to be sent
the broker stays up on 127.0.0.1:1 until Ctrl-C
readings=9 joined=4 unmatched=2 dropped=3 alerts=2 resolved=1 mails=1
`, out.String())
}
