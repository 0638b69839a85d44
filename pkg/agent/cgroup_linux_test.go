package agent

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseCount(t *testing.T) {
	const (
		memoryEvents = "low 0\nhigh 3\nmax 104\noom 7\noom_kill 5\noom_group_kill 2\n" // version 2
		oomControl   = "oom_kill_disable 0\nunder_oom 0\noom_kill 9\n"                 // version 1
	)
	tests := []struct {
		name    string
		content string
		count   string
		want    int64
	}{
		{"memory kills, cgroup version 2", memoryEvents, "oom_kill", 5},
		{"memory kills, cgroup version 1", oomControl, "oom_kill", 9},
		{"a name that others start with", memoryEvents, "oom", 7},
		{"refused forks", "max 12\n", "max", 12},
		{"the last line without its end", "max 12", "max", 12},
		{"a name that is not there", memoryEvents, "kill", 0},
		{"no number", "oom_kill lots\n", "oom_kill", 0},
		{"a name without a number", "oom_kill\n", "oom_kill", 0},
		{"nothing", "", "oom_kill", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, test.want, parseCount([]byte(test.content), test.count))
		})
	}
}

func TestReadFirst(t *testing.T) {
	folder := t.TempDir()
	first, second := filepath.Join(folder, "first"), filepath.Join(folder, "second")

	require.Nil(t, readFirst([]string{first, second}), "the kernel tells neither way")
	require.NoError(t, os.WriteFile(second, []byte("second"), 0o600))
	require.Equal(t, "second", string(readFirst([]string{first, second})))
	require.NoError(t, os.WriteFile(first, []byte("first"), 0o600))
	require.Equal(t, "first", string(readFirst([]string{first, second})))
}
