package guest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// cacheDir is a directory below the user's cache, made when missing.
func cacheDir(name string) (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w (set XDG_CACHE_HOME)", err)
	}
	dir := filepath.Join(base, "cloister", name)
	return dir, os.MkdirAll(dir, 0o755)
}

// fetch returns the path of each package's .deb, verified. They come from dir when it is given, else from the cache,
// else from the machine's mirror.
func fetch(ctx context.Context, packages []Package, dir string, progress Progress) (map[string]string, error) {
	if dir != "" {
		return fetchLocal(packages, dir)
	}
	cache, err := cacheDir("debs")
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	var missing []Package
	for _, p := range packages {
		file := filepath.Join(cache, p.File())
		err := verifyFile(file, p)
		switch {
		case err == nil:
			found[p.Name] = file
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, p)
		default: // a cache entry is never repaired, it is fetched again
			progress.printf("%v; downloading it again", err)
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return found, nil
	}
	progress.printf("downloading %d packages", len(missing))
	if err := newApt(progress).download(ctx, missing, cache); err != nil {
		return nil, err
	}
	for _, p := range missing {
		found[p.Name] = filepath.Join(cache, p.File())
	}
	return found, nil
}

func fetchLocal(packages []Package, dir string) (map[string]string, error) {
	found := map[string]string{}
	var errs []error
	for _, p := range packages {
		file := filepath.Join(dir, p.File())
		// apt-get download writes the epoch's colon as %3a, which a mirror leaves out.
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			file = filepath.Join(dir, aptFile(p))
		}
		if err := verifyFile(file, p); err != nil {
			errs = append(errs, err)
			continue
		}
		found[p.Name] = file
	}
	return found, errors.Join(errs...)
}

func aptFile(p Package) string {
	arch := strings.TrimSuffix(p.File()[strings.LastIndexByte(p.File(), '_')+1:], ".deb")
	return fmt.Sprintf("%s_%s_%s.deb", p.Name, strings.ReplaceAll(p.Version, ":", "%3a"), arch)
}

func acceptDownloads(packages []Package, tmp, cache string) error {
	var missing []Package
	for _, p := range packages {
		file := filepath.Join(tmp, aptFile(p))
		if _, err := os.Stat(file); err != nil {
			missing = append(missing, p)
			continue
		}
		if err := verifyFile(file, p); err != nil {
			return fmt.Errorf("%w: the mirror's package has the locked version and other bytes", err)
		}
		if err := os.Rename(file, filepath.Join(cache, p.File())); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		return &MirrorError{Packages: missing, Detail: "apt-get downloaded nothing of that name"}
	}
	return nil
}

// verify compares the digest of the .deb that file holds.
func (p Package) verify(sum [sha256.Size]byte, file string) error {
	if got := hex.EncodeToString(sum[:]); got != p.SHA256 {
		return fmt.Errorf("package %q at %s: got SHA-256 %s, want %s", p.Name, file, got, p.SHA256)
	}
	return nil
}

func verifyFile(file string, p Package) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("package %q: %w", p.Name, err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("package %q: %w", p.Name, err)
	}
	return p.verify([sha256.Size]byte(h.Sum(nil)), file)
}

// openPackages unpacks packages whose .deb files are known.
func openPackages(ctx context.Context, packages []Package, files map[string]string, progress Progress) (*packageSet, error) {
	set := newPackageSet()
	for _, p := range slices.SortedFunc(slices.Values(packages), func(a, b Package) int { return strings.Compare(a.Name, b.Name) }) {
		progress.printf("unpacking %s %s", p.Name, p.Version)
		if err := set.add(ctx, p, files[p.Name]); err != nil {
			return nil, errors.Join(err, set.Close())
		}
	}
	return set, nil
}

// Progress receives one line a step of a long operation; nil drops them.
type Progress func(line string)

func (p Progress) printf(format string, args ...any) {
	if p != nil {
		p(fmt.Sprintf(format, args...))
	}
}
