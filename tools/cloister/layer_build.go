package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/verity/layer"
)

func newLayerBuildCommand() *cobra.Command {
	var in layerInput
	var out string
	cmd := &cobra.Command{
		Use:   "build LAYER -o DISK",
		Short: "Convert an OCI layer (tar, plain or compressed with gzip or zstd) into a verity disk",
		Example: `  tar -cf layer.tar demo && cloister layer build layer.tar -o layer.disk
  cloister layer build --format erofs -o layer.erofs layer.tar
  tar -cz demo | cloister layer build - -o layer.disk
  cloister layer build layer.tar --diff-id sha256:$(sha256sum layer.tar | cut -d' ' -f1) -o layer.disk --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || out == "" {
				return &usageError{errors.New("layer build: want one LAYER (a file, or - for standard input) and -o DISK")}
			}
			if out == "-" {
				return &usageError{errors.New("layer build: -o -: a disk is not written in order, so it needs a file")}
			}
			o, err := in.options("layer build")
			if err != nil {
				return err
			}
			from, err := openLayer(cmd, args[0], in.quiet)
			if err != nil {
				return err
			}
			defer from.Close()
			res, err := buildLayer(cmd.Context(), from, out, o)
			if err != nil {
				return err
			}
			return in.print(cmd.OutOrStdout(), from, res)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "disk to write; it appears when it is whole")
	in.add(cmd.Flags())
	return cmd
}

// buildLayer writes to a temporary file beside the disk and renames it: a disk of the right name is always whole.
func buildLayer(ctx context.Context, in *layerFile, out string, o layer.Options) (_ layer.Result, err error) {
	tmp, err := os.CreateTemp(filepath.Dir(out), "."+filepath.Base(out)+"-*")
	if err != nil {
		return layer.Result{}, err
	}
	defer func() {
		tmp.Close()
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	res, err := layer.Convert(ctx, in.reader(), tmp, o)
	if err != nil {
		return layer.Result{}, err
	}
	if err := tmp.Chmod(0o644); err != nil {
		return layer.Result{}, err
	}
	return res, os.Rename(tmp.Name(), out)
}
