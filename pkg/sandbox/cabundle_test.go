package sandbox

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"runbook/pkg/apperr"
)

func TestCABundle(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "bundle.pem")
	require.NoError(t, os.WriteFile(file, []byte("a certificate\n"), 0o600))

	t.Run("none is none, whatever this machine has", func(t *testing.T) {
		bundle, err := caBundle("none")
		require.NoError(t, err)
		require.Empty(t, bundle)
	})

	t.Run("a file is taken as it is", func(t *testing.T) {
		bundle, err := caBundle(file)
		require.NoError(t, err)
		require.Equal(t, "a certificate\n", string(bundle))
	})

	// A folder stands in for a file without permission: those who run as root may
	// read every file.
	for _, name := range []string{filepath.Join(folder, "absent"), folder} {
		t.Run("a file that can't be read is the operator's mistake, and says which: "+filepath.Base(name), func(t *testing.T) {
			_, err := caBundle(name)
			require.True(t, apperr.Is(err, apperr.Invalid), "%v", err)
			require.ErrorContains(t, err, "CA_BUNDLE names a file that can't be read: "+name)
		})
	}

	t.Run("empty is what was added on this machine", func(t *testing.T) {
		bundle, err := caBundle("")
		require.NoError(t, err)
		wanted, err := readAuthorities(localAuthorities)
		require.NoError(t, err)
		require.Equal(t, string(wanted), string(bundle))
	})
}

func TestReadAuthorities(t *testing.T) {
	folder := t.TempDir()
	write := func(name, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600))
	}
	write("b.crt", "second\n")
	write("a.crt", "first, without the end of its line")
	write("readme.txt", "not a certificate")

	t.Run("all that match are joined, in order, each on lines of its own", func(t *testing.T) {
		bundle, err := readAuthorities([]string{filepath.Join(folder, "none", "*"), filepath.Join(folder, "*.crt")})
		require.NoError(t, err)
		require.Equal(t, "first, without the end of its line\nsecond\n", string(bundle))
	})

	t.Run("nothing that matches is nothing", func(t *testing.T) {
		bundle, err := readAuthorities([]string{filepath.Join(folder, "*.pem")})
		require.NoError(t, err)
		require.Empty(t, bundle)
	})

	t.Run("one that can't be read says which, and the way out", func(t *testing.T) {
		require.NoError(t, os.Mkdir(filepath.Join(folder, "c.crt"), 0o700))
		_, err := readAuthorities([]string{filepath.Join(folder, "*.crt")})
		require.True(t, apperr.Is(err, apperr.Invalid), "%v", err)
		require.ErrorContains(t, err, filepath.Join(folder, "c.crt"))
		require.ErrorContains(t, err, "CA_BUNDLE")
	})
}
