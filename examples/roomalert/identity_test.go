package main

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

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
