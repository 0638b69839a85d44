package sandbox

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"runbook/docker"
)

func TestBuildContext(t *testing.T) {
	folder := fstest.MapFS{
		"Dockerfile":        {Data: []byte("FROM scratch"), Mode: 0o600, ModTime: time.Unix(1, 0)},
		"scripts/start.sh":  {Data: []byte("#!/bin/sh"), Mode: 0o444, ModTime: time.Unix(2, 0)},
		"scripts/deep/x.go": {Data: []byte("package x")},
	}
	sameOtherwise := fstest.MapFS{ // as another machine, or another day, has it
		"scripts/deep/x.go": {Data: []byte("package x"), ModTime: time.Now()},
		"scripts/start.sh":  {Data: []byte("#!/bin/sh"), Mode: 0o755},
		"Dockerfile":        {Data: []byte("FROM scratch"), ModTime: time.Now()},
	}
	pack := func(folder fs.FS, bundle string) []byte {
		t.Helper()
		archive, err := buildContext(folder, []byte(bundle))
		require.NoError(t, err)
		return archive
	}

	// The archive's hash says whether an image is up to date: one that changed by
	// itself would have the image built at every start, which takes minutes.
	t.Run("is the same for the same content", func(t *testing.T) {
		require.True(t, bytes.Equal(pack(folder, "ca"), pack(folder, "ca")))
		require.True(t, bytes.Equal(pack(folder, "ca"), pack(sameOtherwise, "ca")))
		require.True(t, bytes.Equal(pack(docker.Runtime, ""), pack(docker.Runtime, "")))
	})

	t.Run("changes with any content, name and authority", func(t *testing.T) {
		changed := fstest.MapFS{"Dockerfile": {Data: []byte("FROM debian")}}
		renamed := fstest.MapFS{"Containerfile": {Data: []byte("FROM debian")}}
		archives := [][]byte{
			pack(folder, ""), pack(folder, "ca"), pack(folder, "another"), pack(changed, ""), pack(renamed, ""),
		}
		for i, a := range archives {
			for _, b := range archives[:i] {
				require.False(t, bytes.Equal(a, b))
			}
		}
	})

	t.Run("holds the files, and the authorities if there are any", func(t *testing.T) {
		wanted := map[string]string{
			"Dockerfile":        "FROM scratch",
			"scripts/start.sh":  "#!/bin/sh",
			"scripts/deep/x.go": "package x",
		}
		require.Equal(t, wanted, unpack(t, pack(folder, "")))
		wanted["ca-bundle.crt"] = "ca"
		require.Equal(t, wanted, unpack(t, pack(folder, "ca")))
	})

	t.Run("of the images has a Dockerfile at its root", func(t *testing.T) {
		require.Contains(t, unpack(t, pack(docker.Runtime, "")), "Dockerfile")
		require.Contains(t, unpack(t, pack(docker.Postgres, "")), "Dockerfile")
	})
}

func unpack(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	files := make(map[string]string)
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		files[header.Name] = string(content)
	}
}

func TestReadProgress(t *testing.T) {
	tests := []struct {
		name   string
		stream string
		lines  []string
		err    string
	}{
		{name: "nothing", stream: ""},
		{
			name:   "lines, in pieces and with ends of their own",
			stream: `{"stream":"Step 1/2 : FROM x\n"}{"stream":"one\ntwo\n"}` + "\r\n" + `{"status":"Pulling"}{"stream":"\n"}{"stream":"three"}`,
			lines:  []string{"Step 1/2 : FROM x", "one", "two", "", "three"},
		},
		{
			name:   "a build that fails says why, after what it said before",
			stream: `{"stream":"one\n"}{"errorDetail":{"code":1,"message":"returned 1"},"error":"returned 1"}{"stream":"never\n"}`,
			lines:  []string{"one"},
			err:    "returned 1",
		},
		{
			name:   "an account that breaks off is no success",
			stream: `{"stream":"one\n"}{"stream":"tw`,
			lines:  []string{"one"},
			err:    "read progress",
		},
		{name: "an account of something else", stream: `<html>`, err: "read progress"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var lines []string
			err := readProgress(strings.NewReader(test.stream), func(line string) { lines = append(lines, line) })
			require.Equal(t, test.lines, lines)
			if test.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.err)
			}
		})
	}
}

func TestLineTail(t *testing.T) {
	tail := &lineTail{}
	require.Empty(t, tail.String())
	tail.add("0")
	require.Equal(t, "0", tail.String())
	for i := 1; i <= 24; i++ {
		tail.add(strconv.Itoa(i))
	}
	require.Equal(t, "5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n17\n18\n19\n20\n21\n22\n23\n24", tail.String())
}
