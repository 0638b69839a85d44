package agent

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"strings"
)

// What the kernel tells of the container's own cgroup, in version 2 and 1.
var (
	oomFiles         = []string{"/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"}
	pidsCurrentFiles = []string{"/sys/fs/cgroup/pids.current", "/sys/fs/cgroup/pids/pids.current"}
	pidsEventsFiles  = []string{"/sys/fs/cgroup/pids.events", "/sys/fs/cgroup/pids/pids.events"}
	pidsMaxFiles     = []string{"/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"}
)

// oomKills is how many processes of the container the kernel has killed for
// memory. It is 0 where the kernel doesn't tell.
func oomKills() int64 {
	return parseCount(readFirst(oomFiles), "oom_kill")
}

// refusedForks is how many processes the container was refused for its limit.
func refusedForks() int64 {
	return parseCount(readFirst(pidsEventsFiles), "max")
}

// parseCount reads the number of a line "name number".
func parseCount(content []byte, name string) int64 {
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		value, ok := bytes.CutPrefix(lines.Bytes(), []byte(name+" "))
		if !ok {
			continue
		}
		count, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil {
			return 0
		}
		return count
	}
	return 0
}

// processesLeft is how many more processes and threads the container may have.
// The second result is false where there is no limit, or the kernel doesn't tell.
func processesLeft() (int, bool) {
	limit, err := strconv.Atoi(strings.TrimSpace(string(readFirst(pidsMaxFiles))))
	if err != nil {
		return 0, false
	}
	current, err := strconv.Atoi(strings.TrimSpace(string(readFirst(pidsCurrentFiles))))
	if err != nil {
		return 0, false
	}
	return limit - current, true
}

// readFirst is the content of the first of the files that there is.
func readFirst(files []string) []byte {
	for _, file := range files {
		if content, err := os.ReadFile(file); err == nil {
			return content
		}
	}
	return nil
}
