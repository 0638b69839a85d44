package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	action = bytes.Repeat([]byte{0xa1}, 32)
	output = bytes.Repeat([]byte{0xb2}, 32)
)

// ask sends requests as the go command does, a body as a JSON value after its
// request, and returns the answers without the greeting.
func ask(t *testing.T, c *cache, requests ...any) []response {
	t.Helper()
	var in, out bytes.Buffer
	enc := json.NewEncoder(&in)
	for _, r := range requests {
		require.NoError(t, enc.Encode(r))
	}
	require.NoError(t, c.serve(&in, &out))

	dec := json.NewDecoder(&out)
	var answers []response
	for {
		var res response
		err := dec.Decode(&res)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		answers = append(answers, res)
	}
	require.Equal(t, []string{"get", "put", "close"}, answers[0].KnownCommands)
	return answers[1:]
}

func TestWhatWasPutIsFoundAgain(t *testing.T) {
	t.Parallel()
	c := &cache{base: t.TempDir(), top: filepath.Join(t.TempDir(), "top"), limit: topLimit}
	empty := bytes.Repeat([]byte{0xc3}, 32)

	got := ask(
		t, c,
		request{ID: 1, Command: "get", ActionID: action},
		request{ID: 2, Command: "put", ActionID: action, OutputID: output, BodySize: 5}, []byte("hello"),
		request{ID: 3, Command: "get", ActionID: action},
		request{ID: 4, Command: "put", ActionID: empty, OutputID: empty},
		request{ID: 5, Command: "get", ActionID: empty},
		request{ID: 6, Command: "close"},
	)

	require.Equal(t, response{ID: 1, Miss: true}, got[0])
	require.Equal(t, got[1].DiskPath, got[2].DiskPath)
	require.Equal(t, output, got[2].OutputID)
	require.EqualValues(t, 5, got[2].Size)
	require.WithinDuration(t, time.Now(), *got[2].Time, time.Minute)
	body, err := os.ReadFile(got[2].DiskPath)
	require.NoError(t, err)
	require.Equal(t, "hello", string(body))
	require.False(t, got[4].Miss, "an empty output is an output too")
	require.Equal(t, response{ID: 6}, got[5])
}

func TestTheBaseIsReadAndNeverWritten(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	ask(t, &cache{top: base, limit: topLimit},
		request{Command: "put", ActionID: action, OutputID: output, BodySize: 5}, []byte("hello"))

	c := &cache{base: base, top: t.TempDir(), limit: topLimit}
	got := ask(
		t, c,
		request{Command: "get", ActionID: action},
		request{Command: "put", ActionID: action, OutputID: output, BodySize: 5}, []byte("world"),
		request{Command: "get", ActionID: action},
	)

	require.True(t, strings.HasPrefix(got[0].DiskPath, base))
	require.True(t, strings.HasPrefix(got[2].DiskPath, c.top), "what the session built goes first")
	body, err := os.ReadFile(got[0].DiskPath)
	require.NoError(t, err)
	require.Equal(t, "hello", string(body))
}

func TestADamagedEntryIsAMiss(t *testing.T) {
	t.Parallel()
	damages := map[string]func(t *testing.T, c *cache){
		"entry cut off": func(t *testing.T, c *cache) {
			require.NoError(t, os.Truncate(file(c.top, action, "a"), 70))
		},
		"output cut off": func(t *testing.T, c *cache) {
			require.NoError(t, os.Truncate(file(c.top, output, "d"), 4))
		},
		"output removed": func(t *testing.T, c *cache) {
			require.NoError(t, os.Remove(file(c.top, output, "d")))
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &cache{base: t.TempDir(), top: t.TempDir(), limit: topLimit}
			put := request{Command: "put", ActionID: action, OutputID: output, BodySize: 5}
			ask(t, c, put, []byte("hello"))
			damage(t, c)
			get := request{Command: "get", ActionID: action}

			got := ask(t, c, get, put, []byte("hello"), get)

			require.True(t, got[0].Miss)
			require.False(t, got[2].Miss, "putting it again repairs it")
		})
	}
}

func TestCloseRemovesWhatWasNotUsedForLongest(t *testing.T) {
	t.Parallel()
	// Each of four entries takes a little more than 1000 bytes, so two have to go.
	c := &cache{base: t.TempDir(), top: t.TempDir(), limit: 3000}
	ids := make([][]byte, 4)
	var puts, gets []any
	for i := range ids {
		ids[i] = bytes.Repeat([]byte{byte(i)}, 32)
		puts = append(puts, request{Command: "put", ActionID: ids[i], OutputID: ids[i], BodySize: 1000}, make([]byte, 1000))
		gets = append(gets, request{Command: "get", ActionID: ids[i]})
	}
	ask(t, c, puts...)
	for i, id := range ids {
		used := time.Now().Add(time.Duration(i-10) * time.Hour)
		require.NoError(t, os.Chtimes(file(c.top, id, "a"), used, used))
		require.NoError(t, os.Chtimes(file(c.top, id, "d"), used, used))
	}

	ask(t, c, gets[0], request{Command: "close"})

	var missing []bool
	for _, res := range ask(t, c, gets...) {
		missing = append(missing, res.Miss)
	}
	require.Equal(t, []bool{false, true, true, false}, missing, "the first was used just now")
}
