package stream

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/codec"
)

func TestPassHandsOnAndEmpties(t *testing.T) {
	var got []int
	var b batch[string, string]
	failed := errors.New("failed")
	next := func(b batch[string, string]) error { got = append(got, len(b.recs)); return failed }
	require.NoError(t, pass(&b, next), "nothing is not handed on")
	b.add(Record[string, string]{}, nil)
	require.ErrorIs(t, pass(&b, next), failed)
	require.Empty(t, b.recs)
	require.Equal(t, []int{1}, got)
}

func TestPlansDoNotShareMemory(t *testing.T) {
	s := strs("in")
	a := toStrs(s, "a")
	b := toStrs(s, "b")
	require.Equal(t, []string{"a"}, a.plan.outputs)
	require.Equal(t, []string{"b"}, b.plan.outputs)
	require.Empty(t, s.plan.outputs)
	p := process(process(s, passThrough{}.Process, newGate()), passThrough{}.Process, newGate())
	require.Len(t, p.plan.deps, 2)
	require.Empty(t, s.plan.deps, "a stream is never changed")
}

func TestWhatIsWrongInAChainIsCollected(t *testing.T) {
	bad := From[string, string]("", nil, nil)
	sink := To(bad, "", codec.String(), codec.String())
	_, err := New(sink, Brokers("127.0.0.1:1"), Group("g"))
	require.EqualError(t, err, "stream: From needs a topic\nstream: From(\"\") needs a key codec and a value codec\nstream: To needs a topic")
}
