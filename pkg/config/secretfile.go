package config

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const secretFile = "jwt-secret"

// EnsureSecret returns the key kept in dataDir, and makes it (and the folder,
// for the owner only) if it isn't there yet. Processes that start at the same
// time end with the same key. A file that other users can read is refused: they
// could sign in as anybody.
func EnsureSecret(dataDir string) (Secret, error) {
	path := filepath.Join(dataDir, secretFile)
	secret, err := readSecret(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	if err := createSecret(path); err != nil {
		return "", fmt.Errorf("keep a JWT secret in %s (or set JWT_SECRET): %w", dataDir, err)
	}
	return readSecret(path)
}

func readSecret(path string) (Secret, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("read the JWT secret: %w", err)
	}
	if open := info.Mode().Perm() & 0o077; open != 0 {
		return "", fmt.Errorf("%s can be read by other users (mode %04o): run chmod 600 %s, or delete it to have a new one made, which ends every sign-in",
			path, info.Mode().Perm(), path)
	}
	text, err := os.ReadFile(path) //nolint:gosec // the path comes from the operator, not from a client
	if err != nil {
		return "", fmt.Errorf("read the JWT secret: %w", err)
	}
	secret := strings.TrimSpace(string(text))
	if len(secret) < minSecret {
		return "", fmt.Errorf("%s holds less than %d bytes: delete it to have a new one made, which ends every sign-in", path, minSecret)
	}
	return Secret(secret), nil
}

// createSecret puts a new secret at path unless there is one already. Linking
// a finished file into place is what makes it atomic: nobody reads half a
// secret, and of two processes one wins.
func createSecret(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	draft, err := writeDraft(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(draft) }()
	if err := os.Link(draft, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// writeDraft writes a new secret to a file of its own, which os.CreateTemp
// makes with mode 0600, and returns its path.
func writeDraft(dir string) (string, error) {
	file, err := os.CreateTemp(dir, secretFile+".*")
	if err != nil {
		return "", err
	}
	key := make([]byte, minSecret)
	_, _ = rand.Read(key) // never fails: it ends the program instead
	_, err = file.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		_ = os.Remove(file.Name())
		return "", err
	}
	return file.Name(), nil
}
