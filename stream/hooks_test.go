package stream

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// everything is told everything.
type everything struct{ calls []any }

func (h *everything) OnCommit(offsets []Offset, err error) { h.calls = append(h.calls, offsets, err) }
func (h *everything) OnDrop(topic string, partition int32, offset int64, reason string) {
	h.calls = append(h.calls, topic, partition, offset, reason)
}
func (h *everything) OnBadRecord(err *RecordError, p BadRecordPolicy) {
	h.calls = append(h.calls, err, p)
}
func (h *everything) OnAssigned(m map[string][]int32)        { h.calls = append(h.calls, m) }
func (h *everything) OnRevoked(m map[string][]int32, l bool) { h.calls = append(h.calls, m, l) }
func (h *everything) OnState(s State)                        { h.calls = append(h.calls, s) }

func TestHooksAreFoundByWhatTheyImplement(t *testing.T) {
	all, state := new(everything), new(stateHook)
	hs := hooks{state, all}
	bad, failed := &RecordError{Stage: "map"}, errors.New("x")
	m := map[string][]int32{"t": {1}}
	offsets := []Offset{{"t", 1, 2}}
	hs.commit(offsets, failed)
	hs.drop("t", 1, 2, "why")
	hs.badRecord(bad, Skip)
	hs.assigned(m)
	hs.revoked(m, true)
	hs.state(StateRunning)
	require.Equal(t, []any{offsets, failed, "t", int32(1), int64(2), "why", bad, Skip, m, m, true, StateRunning}, all.calls)
	require.Equal(t, []State{StateRunning}, state.seen)
}

func TestOnlyHooksAreHooks(t *testing.T) {
	require.True(t, isHook(new(stateHook)))
	require.True(t, isHook(new(commitHook)))
	require.True(t, isHook(new(rebalanceHook)))
	require.True(t, isHook(new(badHook)))
	require.False(t, isHook("OnCommit"))
	require.False(t, isHook(nil))
	require.False(t, isHook(stateHook{}), "its method needs a pointer")
}

func TestDropHook(t *testing.T) {
	e := onFake(t)
	in := e.topic("in", 1)
	e.putN(in, 0, 0, 2)
	h := new(dropHook)
	s := Filter(strs(in), func(r Record[string, string]) (bool, error) { return r.Value == "v0", nil })
	_, err := e.runToEnd(ForEach(s, new(collector).add), Hooks(h))
	require.NoError(t, err)
	require.Equal(t, []Offset{{in, 0, 1}}, h.at)
	require.Equal(t, []string{DropFiltered}, h.reasons)
}

type dropHook struct {
	at      []Offset
	reasons []string
}

func (h *dropHook) OnDrop(topic string, partition int32, offset int64, reason string) {
	h.at = append(h.at, Offset{topic, partition, offset})
	h.reasons = append(h.reasons, reason)
}
