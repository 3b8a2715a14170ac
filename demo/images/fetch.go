package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cloister-cc/cloister/guest"
)

//go:embed packages.lock
var lockText []byte

// packageNames are the packages whose files go into the images. The libraries are named one by one: an image that comes to
// need another is refused at build time, with the library's name.
var packageNames = []string{
	"base-files", "busybox-static", "libc6", "libcrypt1", "libpcre2-8-0", "libssl3", "nginx", "nginx-common", "zlib1g",
}

// fetch returns the bytes of each locked package, compared with the lock: the bytes that are unpacked are those that were
// looked at. They come from dir when it is given, else from the user's cache, which apt-get fills.
func fetch(ctx context.Context, locked []guest.Package, dir string) (map[string][]byte, error) {
	download := dir == ""
	if download {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("no cache directory (set XDG_CACHE_HOME): %w", err)
		}
		dir = filepath.Join(cache, "cloister", "debs")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	found := map[string][]byte{}
	var missing []guest.Package
	for _, p := range locked {
		data, err := readPackage(p, filepath.Join(dir, p.File()), filepath.Join(dir, aptFile(p)))
		switch {
		case err == nil:
			found[p.Name] = data
		case download && errors.Is(err, fs.ErrNotExist):
			missing = append(missing, p)
		default:
			return nil, err
		}
	}
	if len(missing) > 0 {
		if err := aptDownload(ctx, missing, dir); err != nil {
			return nil, err
		}
		for _, p := range missing {
			data, err := readPackage(p, filepath.Join(dir, p.File()))
			if err != nil {
				return nil, err
			}
			found[p.Name] = data
		}
	}
	return found, nil
}

// readPackage takes the first of the names that is there.
func readPackage(p guest.Package, names ...string) ([]byte, error) {
	for _, name := range names {
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(data)
		if got := hex.EncodeToString(sum[:]); got != p.SHA256 {
			return nil, fmt.Errorf("package %q at %s: got SHA-256 %s, want %s", p.Name, name, got, p.SHA256)
		}
		return data, nil
	}
	return nil, fmt.Errorf("package %q at %s: %w", p.Name, names[0], fs.ErrNotExist)
}

// aptFile is the name apt-get download gives: the epoch's colon is escaped, and there even where the mirror leaves it out.
func aptFile(p guest.Package) string {
	file := p.File()
	arch := strings.TrimSuffix(file[strings.LastIndexByte(file, '_')+1:], ".deb")
	return fmt.Sprintf("%s_%s_%s.deb", p.Name, strings.ReplaceAll(p.Version, ":", "%3a"), arch)
}

// aptDownload fetches exactly the locked versions; what has other bytes never gets a name in the cache.
func aptDownload(ctx context.Context, packages []guest.Package, cache string) error {
	tmp, err := os.MkdirTemp(cache, ".download-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	args := []string{"-q"}
	if os.Geteuid() == 0 {
		args = append(args, "-o", "APT::Sandbox::User=root") // else apt warns that its own user cannot write here
	}
	args = append(args, "download")
	for _, p := range packages {
		args = append(args, p.Name+"="+p.Version)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Dir, cmd.Stderr, cmd.Env = tmp, &stderr, append(os.Environ(), "LC_ALL=C")
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("download %s: %w: %s\nIf the list of packages is old, run: apt-get update. If the mirror dropped a version, take the "+
			"newest with --update, or give the locked .deb files (e.g. from https://snapshot.debian.org) with --packages DIR",
			strings.Join(args[len(args)-len(packages):], " "), err, strings.Join(strings.Fields(stderr.String()), " "))
	}
	for _, p := range packages {
		if _, err := readPackage(p, filepath.Join(tmp, aptFile(p))); err != nil {
			return fmt.Errorf("downloaded %w", err)
		}
		if err := os.Rename(filepath.Join(tmp, aptFile(p)), filepath.Join(cache, p.File())); err != nil {
			return err
		}
	}
	return nil
}

// updateLock writes the lock of the source tree anew.
func updateLock(ctx context.Context) error {
	wd, err := os.Getwd()
	if err != nil {
		return err
	}
	source := guest.FindSource(wd)
	if source == "" {
		return errors.New("--update: not inside a Cloister source tree, whose demo/images/packages.lock it writes")
	}
	var packages []guest.Package
	for _, name := range packageNames {
		p, err := newest(ctx, name)
		if err != nil {
			return err
		}
		packages = append(packages, p)
	}
	text := "# Packages of the demo's images, one a line: name version sha256 path-in-the-mirror.\n" +
		"# Written by \"go run ./demo/images --update\".\n"
	for line := range strings.Lines(string(guest.FormatLock(packages))) {
		if !strings.HasPrefix(line, "#") {
			text += line
		}
	}
	return os.WriteFile(filepath.Join(source, "demo", "images", "packages.lock"), []byte(text), 0o644)
}

// newest is the version of a package that apt would install.
func newest(ctx context.Context, name string) (guest.Package, error) {
	cmd := exec.CommandContext(ctx, "apt-cache", "show", "--no-all-versions", name)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	record, err := cmd.Output()
	if err != nil {
		return guest.Package{}, fmt.Errorf("package %q: %w (is apt's list empty? run: apt-get update)", name, err)
	}
	p := guest.Package{Name: name}
	for line := range strings.Lines(string(record)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "Version":
			p.Version = value
		case "SHA256":
			p.SHA256 = value
		case "Filename":
			p.Pool = value
		}
	}
	return p, nil
}
