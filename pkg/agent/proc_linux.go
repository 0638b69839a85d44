package agent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// process is what /proc tells of one.
type process struct {
	pid, parent int
	dead        bool // ended, but not reaped yet
}

// processes lists all that are in the container.
func processes() ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var all []process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if err != nil {
			continue
		}
		if p, ok := parseStat(pid, stat); ok {
			all = append(all, p)
		}
	}
	return all, nil
}

// parseStat reads "pid (name) state parent …"; the name may hold anything.
func parseStat(pid int, stat []byte) (process, bool) {
	_, rest, ok := bytes.Cut(stat[max(bytes.LastIndexByte(stat, ')'), 0):], []byte(") "))
	fields := bytes.Fields(rest)
	if !ok || len(fields) < 2 {
		return process{}, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return process{}, false
	}
	state := fields[0][0]
	return process{pid: pid, parent: parent, dead: state == 'Z' || state == 'X'}, true
}

// descendants are the living processes below root, without root itself.
func descendants(all []process, root int) []int {
	children := make(map[int][]process)
	for _, p := range all {
		children[p.parent] = append(children[p.parent], p)
	}
	var found []int
	queue := []int{root}
	for len(queue) > 0 {
		parent := queue[0]
		queue = queue[1:]
		for _, p := range children[parent] {
			queue = append(queue, p.pid)
			if !p.dead {
				found = append(found, p.pid)
			}
		}
	}
	return found
}

const (
	// killPause lets killed processes end before they are looked for again.
	killPause = 2 * time.Millisecond
	// killPatience bounds the hunt for a tree that forks as fast as it is killed.
	killPatience = 3 * time.Second
)

var errSurvivors = errors.New("processes survived being killed")

// signalTree sends the signal to all below root and tells how many there were.
func signalTree(root int, signal syscall.Signal) (int, error) {
	all, err := processes()
	if err != nil {
		return 0, err
	}
	tree := descendants(all, root)
	for _, pid := range tree {
		_ = syscall.Kill(pid, signal)
	}
	return len(tree), nil
}

// killTree kills all below root, and what they fork meanwhile, until none is left.
func killTree(root int) error {
	for deadline := time.Now().Add(killPatience); time.Now().Before(deadline); time.Sleep(killPause) {
		n, err := signalTree(root, syscall.SIGKILL)
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
	}
	return errSurvivors
}
