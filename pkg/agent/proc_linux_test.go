package agent

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParseStat(t *testing.T) {
	tests := []struct {
		name string
		stat string
		want process
		ok   bool
	}{
		{"an ordinary process", "7 (bash) S 1 7 7 0 -1", process{pid: 7, parent: 1}, true},
		{"a running one", "7 (bash) R 12 7", process{pid: 7, parent: 12}, true},
		{"a zombie is dead", "7 (bash) Z 12 7", process{pid: 7, parent: 12, dead: true}, true},
		{"one on its way out is dead", "7 (bash) X 12 7", process{pid: 7, parent: 12, dead: true}, true},
		{"a name with a space", "7 (tmux: server) S 3 7", process{pid: 7, parent: 3}, true},
		{"a name that looks like the rest of the line", "7 (a) Z 99 (b) S 3 7", process{pid: 7, parent: 3}, true},
		{"a name of brackets", "7 ()) () S 3 7", process{pid: 7, parent: 3}, true},
		{"a name with a newline", "7 (a\n) Z 99\n) S 3 7", process{pid: 7, parent: 3}, true},
		{"an empty name", "7 () S 3 7", process{pid: 7, parent: 3}, true},
		{"nothing", "", process{}, false},
		{"a process that ended while it was read", "7 (bash)", process{}, false},
		{"a line that ends after the state", "7 (bash) S", process{}, false},
		{"no brackets at all", "7 bash S 3", process{}, false},
		{"a parent that is no number", "7 (bash) S x", process{}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, ok := parseStat(7, []byte(test.stat))
			require.Equal(t, test.ok, ok)
			require.Equal(t, test.want, got)
		})
	}

	// The name is whatever a program calls itself: it must not be able to pass for
	// a dead process, nor for somebody else's child, and so escape being killed.
	t.Run("whatever the name, state and parent are the process's own", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			name := rapid.OneOf(
				rapid.StringOfN(rapid.RuneFrom([]rune("() \nZS0123456789")), 0, 15, 15),
				rapid.StringN(0, 15, 15),
			).Draw(t, "name")
			got, ok := parseStat(7, []byte("7 ("+name+") S 42 7 7 0 -1 4194560"))
			require.True(t, ok)
			require.Equal(t, process{pid: 7, parent: 42}, got)
		})
	})
}

func TestDescendants(t *testing.T) {
	// 1 ── 2 ── 3 ── 4
	//  │    └── 5 (dead) ── 6
	//  └── 7 ── 8
	all := []process{
		{pid: 1, parent: 0},
		{pid: 8, parent: 7},
		{pid: 4, parent: 3},
		{pid: 3, parent: 2},
		{pid: 6, parent: 5},
		{pid: 5, parent: 2, dead: true},
		{pid: 2, parent: 1},
		{pid: 7, parent: 1},
	}
	tests := []struct {
		name string
		root int
		want []int
	}{
		{"the whole tree below, the dead left out, their children not", 2, []int{3, 4, 6}},
		{"nothing of a neighbour's tree", 7, []int{8}},
		{"everything below the first process", 1, []int{2, 3, 4, 6, 7, 8}},
		{"nothing below a leaf", 8, nil},
		{"nothing below a process that is not there", 99, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := descendants(all, test.root)
			slices.Sort(got)
			require.Equal(t, test.want, got)
		})
	}
}
