// Command gocache is the build cache that the go command uses in a session
// (GOCACHEPROG): what the image brought along lies in a read-only base, what the
// session builds goes on top.
//
// Go can't do that by itself. A plain GOCACHE on a read-only root serves `go run
// hello.go`, yet `go run .` fails with EROFS as soon as the files are older than
// two seconds, because the index of a package must be stored. A copy of the base
// would cost each session 170 MB of memory, and links to it would let Go keep the
// executable of every single run (it does so only in a cache of its own).
//
// Both layers have the layout of Go's own cache, so the base is made by
// `go build std`. The protocol is described in cmd/go/internal/cacheprog.
package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// topLimit is how many bytes the top layer may hold from one build to the next:
// it lies in a tmpfs, which counts as memory of the session.
const topLimit = 48 << 20

// touchAfter keeps the time of last use without a write at every use.
const touchAfter = time.Minute

type request struct {
	ID       int64
	Command  string
	ActionID []byte
	OutputID []byte
	BodySize int64
}

type response struct {
	ID            int64
	Err           string     `json:",omitempty"`
	KnownCommands []string   `json:",omitempty"`
	Miss          bool       `json:",omitempty"`
	OutputID      []byte     `json:",omitempty"`
	Size          int64      `json:",omitempty"`
	Time          *time.Time `json:",omitempty"`
	DiskPath      string     `json:",omitempty"`
}

// cache is used by one go command at a time, but others may share its folders.
type cache struct {
	base, top string
	limit     int64
	grown     bool
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: gocache BASE TOP")
		os.Exit(2)
	}
	c := cache{base: os.Args[1], top: os.Args[2], limit: topLimit}
	if err := c.serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "gocache:", err)
		os.Exit(1)
	}
}

// serve answers one request after the other until "close" or the end of r, which
// is what comes when the go command was killed.
func (c *cache) serve(r io.Reader, w io.Writer) error {
	in, out := json.NewDecoder(r), json.NewEncoder(w)
	res := response{KnownCommands: []string{"get", "put", "close"}}
	for {
		if err := out.Encode(res); err != nil {
			return err
		}
		var req request
		if err := in.Decode(&req); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		// The body follows as a JSON value of its own: base64 in a string.
		var body []byte
		if req.BodySize > 0 {
			if err := in.Decode(&body); err != nil {
				return err
			}
		}
		switch req.Command {
		case "get":
			res = c.get(req.ActionID)
		case "put":
			path, err := c.put(req.ActionID, req.OutputID, body)
			res = response{DiskPath: path}
			if err != nil {
				res.Err = err.Error()
			}
		case "close":
			c.trim()
			return out.Encode(response{ID: req.ID})
		default:
			res = response{Err: "unknown command " + req.Command}
		}
		res.ID = req.ID
	}
}

// get looks in both layers; an entry that is damaged or half removed is a miss.
func (c *cache) get(action []byte) response {
	for _, dir := range []string{c.top, c.base} {
		name := file(dir, action, "a")
		line, err := os.ReadFile(name) //nolint:gosec // an entry of the cache, named by a hash
		if err != nil {
			continue
		}
		// v1 <action> <output> <size> <Unix time in nanoseconds>
		f := strings.Fields(string(line))
		if len(f) != 5 || f[0] != "v1" || f[1] != hex.EncodeToString(action) {
			continue
		}
		output, err1 := hex.DecodeString(f[2])
		size, err2 := strconv.ParseInt(f[3], 10, 64)
		nano, err3 := strconv.ParseInt(f[4], 10, 64)
		if errors.Join(err1, err2, err3) != nil || len(output) == 0 {
			continue
		}
		path := file(dir, output, "d")
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() || info.Size() != size {
			continue
		}
		if now := time.Now(); dir == c.top && now.Sub(info.ModTime()) > touchAfter {
			_ = os.Chtimes(name, now, now)
			_ = os.Chtimes(path, now, now)
		}
		stored := time.Unix(0, nano)
		return response{OutputID: output, Size: size, Time: &stored, DiskPath: path}
	}
	return response{Miss: true}
}

func (c *cache) put(action, output, body []byte) (path string, err error) {
	if len(action) == 0 || len(output) == 0 {
		return "", errors.New("put without an id")
	}
	c.grown = true
	path = file(c.top, output, "d")
	if info, err := os.Stat(path); err != nil || info.Size() != int64(len(body)) {
		if err := write(path, body); err != nil {
			return "", err
		}
	}
	line := fmt.Sprintf("v1 %x %x %20d %20d\n", action, output, len(body), time.Now().UnixNano())
	return path, write(file(c.top, action, "a"), []byte(line))
}

// trim removes what was not used for longest until the top layer is within its
// limit. Doing it at the end spares the files that this build has named to Go.
func (c *cache) trim() {
	if !c.grown {
		return
	}
	type entry struct {
		path string
		info fs.FileInfo
	}
	var entries []entry
	var total int64
	_ = filepath.WalkDir(c.top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "-a") && !strings.HasSuffix(path, "-d") {
			return nil //nolint:nilerr // what can't be read can't be removed: skip it
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			entries = append(entries, entry{path, info})
			total += info.Size()
		}
		return nil
	})
	slices.SortFunc(entries, func(a, b entry) int { return a.info.ModTime().Compare(b.info.ModTime()) })
	for _, e := range entries {
		if total <= c.limit {
			return
		}
		if os.Remove(e.path) == nil {
			total -= e.info.Size()
		}
	}
}

// file is where Go keeps an action ("a") or an output ("d").
func file(dir string, id []byte, kind string) string {
	name := hex.EncodeToString(id)
	return filepath.Join(dir, name[:2], name+"-"+kind)
}

// write lets nobody see half a file.
func write(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}
