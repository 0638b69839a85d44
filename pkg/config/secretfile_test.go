package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"runbook/pkg/config"
)

func TestTheSecretIsMadeOnceAndKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "data")
	first, err := config.EnsureSecret(dir)
	require.NoError(t, err)
	assert.Len(t, first.Reveal(), 44, "32 bytes in base64")

	again, err := config.EnsureSecret(dir)
	require.NoError(t, err)
	assert.Equal(t, first.Reveal(), again.Reveal())

	assertMode(t, dir, 0o700)
	assertMode(t, filepath.Join(dir, "jwt-secret"), 0o600)
	assertOnlyTheSecretIn(t, dir)
}

func TestServersThatStartTogetherShareOneSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secrets := make([]config.Secret, 20)
	var wg sync.WaitGroup
	for i := range secrets {
		wg.Go(func() {
			var err error
			secrets[i], err = config.EnsureSecret(dir)
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	for _, secret := range secrets {
		assert.Equal(t, secrets[0].Reveal(), secret.Reveal())
	}
	assertOnlyTheSecretIn(t, dir)
}

func TestASecretThatIsNotOneIsRefused(t *testing.T) {
	t.Parallel()
	good := strings.Repeat("s", 32)
	for name, tt := range map[string]struct {
		content string
		mode    os.FileMode
		want    string
	}{
		"readable by the group": {good, 0o640, "can be read by other users (mode 0640): run chmod 600"},
		"readable by everybody": {good, 0o604, "can be read by other users"},
		"empty":                 {"", 0o600, "holds less than 32 bytes"},
		"too short":             {good[1:] + "\n", 0o600, "holds less than 32 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "jwt-secret")
			require.NoError(t, os.WriteFile(path, []byte(tt.content), tt.mode))
			require.NoError(t, os.Chmod(path, tt.mode))

			_, err := config.EnsureSecret(dir)
			require.ErrorContains(t, err, tt.want)
			require.ErrorContains(t, err, path)
			kept, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, tt.content, string(kept), "what is there is left as it is")
		})
	}
}

func TestAFolderThatCanNotBeMadeIsSaid(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := config.EnsureSecret(filepath.Join(file, "data"))
	require.ErrorContains(t, err, file)
}

func assertMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, want, info.Mode().Perm(), path)
}

func assertOnlyTheSecretIn(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	assert.Equal(t, "jwt-secret", entries[0].Name())
}
