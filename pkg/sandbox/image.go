package sandbox

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/pkg/jsonmessage"

	"runbook/docker"
	"runbook/pkg/apperr"
)

const (
	// baseImage is what the images are built from.
	baseImage = "debian:trixie-slim"
	// RuntimeImage is the image that the server builds itself. Any other name
	// must be on the engine already, or in a registry in its reach.
	RuntimeImage  = "runbook-runtime"
	postgresImage = "runbook-postgres"
)

func (e *Engine) ensureRuntimeImage(ctx context.Context, progress Progress) error {
	if e.settings.Image != RuntimeImage {
		return e.ensurePresent(ctx, e.settings.Image, progress)
	}
	return e.ensureBuilt(ctx, RuntimeImage, docker.Runtime, progress)
}

// ensurePresent pulls an image that is not there.
func (e *Engine) ensurePresent(ctx context.Context, name string, progress Progress) error {
	_, err := e.docker.ImageInspect(ctx, name)
	if err == nil {
		return nil
	}
	if !errdefs.IsNotFound(err) {
		return translate(err, "inspect image")
	}
	progress("pulling image %s", name)
	stream, err := e.docker.ImagePull(ctx, name, image.PullOptions{})
	if err == nil {
		defer stream.Close()
		err = readProgress(stream, func(string) {})
	}
	if err != nil {
		return apperr.Wrap(err, apperr.Unavailable,
			"The image %s is neither on the Docker engine nor could it be pulled.", name)
	}
	return nil
}

// ensureBuilt builds an image from its folder, unless it was built from the very
// same before.
func (e *Engine) ensureBuilt(ctx context.Context, name string, folder fs.FS, progress Progress) error {
	bundle, err := caBundle(e.settings.CABundle)
	if err != nil {
		return err
	}
	archive, err := buildContext(folder, bundle)
	if err != nil {
		return fmt.Errorf("pack build context of %s: %w", name, err)
	}
	sum := sha256.Sum256(archive)
	version := hex.EncodeToString(sum[:])
	inspected, err := e.docker.ImageInspect(ctx, name)
	if err == nil && inspected.Config != nil && inspected.Config.Labels[labelContext] == version {
		return nil
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return translate(err, "inspect image")
	}
	if err := e.ensureBaseImage(ctx, progress); err != nil {
		return err
	}
	progress("building image %s (minutes the first time)", name)
	return e.build(ctx, name, version, archive, progress)
}

func (e *Engine) ensureBaseImage(ctx context.Context, progress Progress) error {
	err := e.ensurePresent(ctx, baseImage, progress)
	if apperr.Is(err, apperr.Unavailable) {
		return apperr.Wrap(err, apperr.Unavailable,
			"The base image %s is neither on the Docker engine nor could it be pulled: "+
				"run docker/scripts/base-image.sh as root to make it.", baseImage)
	}
	return err
}

func (e *Engine) build(ctx context.Context, name, version string, archive []byte, progress Progress) error {
	response, err := e.docker.ImageBuild(ctx, bytes.NewReader(archive), build.ImageBuildOptions{
		Tags:        []string{name},
		Labels:      map[string]string{labelContext: version},
		Remove:      true,
		ForceRemove: true,
	})
	if err != nil {
		return translate(err, "build image "+name)
	}
	defer response.Body.Close()
	tail := &lineTail{}
	err = readProgress(response.Body, func(line string) {
		tail.add(line)
		if strings.HasPrefix(line, "Step ") {
			progress("%.100s", line)
		}
	})
	if err != nil {
		return apperr.Wrap(errors.Join(err, errors.New(tail.String())), apperr.Unavailable,
			"Building the image %s failed; what the build said is above.", name)
	}
	return nil
}

// readProgress reads the engine's account of a build or a pull to its end. The
// error is the one that the account ends with.
func readProgress(stream io.Reader, line func(string)) error {
	decoder := json.NewDecoder(stream)
	for {
		var message jsonmessage.JSONMessage
		err := decoder.Decode(&message)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read progress: %w", err)
		}
		if message.Error != nil {
			return message.Error
		}
		for text := range strings.Lines(message.Stream) {
			line(strings.TrimRight(text, "\n"))
		}
	}
}

// lineTail keeps the last lines of a build, for its error.
type lineTail struct{ lines []string }

func (t *lineTail) add(line string) {
	const kept = 20
	t.lines = append(t.lines, line)
	t.lines = t.lines[max(len(t.lines)-kept, 0):]
}

func (t *lineTail) String() string { return strings.Join(t.lines, "\n") }

// buildContext packs a folder, and the CA bundle if there is one, the same way
// every time.
func buildContext(folder fs.FS, bundle []byte) ([]byte, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	err := fs.WalkDir(folder, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(folder, path)
		if err != nil {
			return err
		}
		return addFile(w, path, content)
	})
	if err != nil {
		return nil, err
	}
	if len(bundle) > 0 {
		if err := addFile(w, "ca-bundle.crt", bundle); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return archive.Bytes(), nil
}

func addFile(w *tar.Writer, name string, content []byte) error {
	header := &tar.Header{Name: name, Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}
