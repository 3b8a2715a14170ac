package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/cloister-cc/cloister/guest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Stdout, os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "images: "+err.Error())
		os.Exit(1)
	}
}

func run(ctx context.Context, stdout io.Writer, args []string) error {
	flags := flag.NewFlagSet("images", flag.ContinueOnError)
	out := flags.String("o", "", "directory to write the layouts nginx and client to")
	update := flags.Bool("update", false, "lock the newest versions of the packages that apt knows, in the source tree")
	packages := flags.String("packages", "", "directory with the locked .deb files, instead of cache and mirror")
	report := flags.String("report", "", "report program to use, instead of building it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *update {
		return updateLock(ctx)
	}
	if *out == "" {
		return errors.New("no directory given (-o DIR)")
	}
	b, err := newBuilder(ctx, *packages, *report)
	if err != nil {
		return err
	}
	for _, image := range []struct {
		name string
		make func() (v1.Image, error)
	}{{"nginx", b.nginx}, {"client", b.client}} {
		img, err := image.make()
		if err != nil {
			return fmt.Errorf("image %q: %w", image.name, err)
		}
		digest, err := writeLayout(filepath.Join(*out, image.name), img)
		if err != nil {
			return fmt.Errorf("image %q: %w", image.name, err)
		}
		if _, err := fmt.Fprintf(stdout, "%s %s\n", image.name, digest); err != nil {
			return err
		}
	}
	return nil
}

// builder has the packages' files and the report program.
type builder struct {
	files  packageFiles
	report []byte
}

func newBuilder(ctx context.Context, packages, report string) (*builder, error) {
	locked, err := guest.ParseLock(lockText)
	if err != nil {
		return nil, fmt.Errorf("packages.lock: %w", err)
	}
	debs, err := fetch(ctx, locked, packages)
	if err != nil {
		return nil, err
	}
	b := &builder{files: packageFiles{}}
	for _, p := range locked {
		if err := b.files.add(ctx, p.Name, debs[p.Name]); err != nil {
			return nil, err
		}
	}
	b.report, err = reportProgram(ctx, report)
	return b, err
}

// writeLayout replaces the layout at dir, so that it holds this image and no leftovers.
func writeLayout(dir string, img v1.Image) (v1.Hash, error) {
	if err := checkReplaceable(dir); err != nil {
		return v1.Hash{}, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return v1.Hash{}, err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+"-")
	if err != nil {
		return v1.Hash{}, err
	}
	defer os.RemoveAll(tmp)
	p, err := layout.Write(tmp, empty.Index)
	if err != nil {
		return v1.Hash{}, err
	}
	annotations := map[string]string{"org.opencontainers.image.ref.name": "latest"}
	if err := p.AppendImage(img, layout.WithAnnotations(annotations), layout.WithPlatform(platform)); err != nil {
		return v1.Hash{}, err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return v1.Hash{}, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return v1.Hash{}, err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return v1.Hash{}, err
	}
	return img.Digest()
}

// checkReplaceable protects a directory that is something else from being removed.
func checkReplaceable(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || (err == nil && len(entries) == 0) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, "oci-layout")); err != nil {
		return fmt.Errorf("%q is there and is no OCI layout", dir)
	}
	return nil
}
