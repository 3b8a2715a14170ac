package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// MirrorError says that the mirror no longer (or not yet) gives a locked package, and what to do about it.
type MirrorError struct {
	Packages []Package
	Detail   string
	// Updated says that the machine's package lists were just fetched, so they are not what is wrong.
	Updated bool
}

func (e *MirrorError) Error() string {
	names := make([]string, len(e.Packages))
	for i, p := range e.Packages {
		names[i] = p.Name + "=" + p.Version
	}
	advice := "If the mirror's list is old, run: apt-get update. If the mirror dropped a version, either\n"
	if e.Updated {
		advice = "The package lists are new, so the mirror dropped a version or cannot be reached. Either\n"
	}
	return fmt.Sprintf("download %s: %s\n%s"+
		"  - take the newest versions: cloister guest lock --update (the image's measurement changes), or\n"+
		"  - keep the locked ones: put their .deb files, e.g. from https://snapshot.debian.org, into a directory and\n"+
		"    build with --packages DIR", strings.Join(names, " "), e.Detail, advice)
}

// apt is the machine's apt-get. It is trusted with nothing: what it brings is compared with the lock.
type apt struct {
	// root may fetch package lists; others are told to.
	root     bool
	progress Progress
}

func newApt(progress Progress) apt { return apt{root: os.Geteuid() == 0, progress: progress} }

// download fetches exactly the locked versions and moves what has the locked bytes into the cache. A machine's package lists may be old, or empty as in a fresh
// container: root fetches them once and tries again.
func (a apt) download(ctx context.Context, packages []Package, cache string) error {
	tmp, err := os.MkdirTemp(cache, ".download-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	err = a.fetch(ctx, packages, tmp)
	var mirror *MirrorError
	if errors.As(err, &mirror) && a.root {
		a.progress.printf("apt-get download failed (%.200s); running apt-get update once", mirror.Detail)
		if err := a.update(ctx); err != nil {
			return fmt.Errorf("%w\n%w", mirror, err)
		}
		if err = a.fetch(ctx, packages, tmp); errors.As(err, &mirror) {
			mirror.Updated = true
		}
	}
	if err != nil {
		return err
	}
	return acceptDownloads(packages, tmp, cache)
}

// fetch lets apt-get download packages into dir. A *MirrorError says that apt-get ran and did not.
func (a apt) fetch(ctx context.Context, packages []Package, dir string) error {
	args := []string{"download"}
	for _, p := range packages {
		args = append(args, p.Name+"="+p.Version)
	}
	output, err := a.run(ctx, dir, args...)
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("download packages: %w (without apt, give the .deb files with --packages DIR)", err)
	}
	if err != nil && ctx.Err() == nil {
		return &MirrorError{Packages: packages, Detail: output}
	}
	return err
}

func (a apt) update(ctx context.Context) error {
	output, err := a.run(ctx, "", "update")
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("apt-get update: %w: %s", err, output)
	}
	return err
}

// run runs apt-get and returns what it said on standard error, on one line.
func (a apt) run(ctx context.Context, dir string, args ...string) (string, error) {
	options := []string{"-q"}
	if a.root {
		// apt would drop to a user that cannot write here, and warn that it does not.
		options = append(options, "-o", "APT::Sandbox::User=root")
	}
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, "apt-get", append(options, args...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, io.Discard, &output
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	err := cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return strings.Join(strings.Fields(output.String()), " "), err
}
