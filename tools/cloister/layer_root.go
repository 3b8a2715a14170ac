package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/verity"
	"github.com/cloister-cc/cloister/verity/layer"
)

func newLayerRootCommand() *cobra.Command {
	var in layerInput
	cmd := &cobra.Command{
		Use:   "root LAYER|DISK",
		Short: "Print the root hash that a layer's disk has, without making the disk",
		Long: `Root prints one line: the root hash of the disk that "cloister layer build" would make of the layer (tar, plain or compressed
with gzip or zstd; - is standard input). Of a file that is a disk already it prints the root that superblock and top tree block
give, which does not check the data or the rest of the tree: "cloister layer verify" does.`,
		Example: `  cloister layer root layer.tar
  cloister layer root --format erofs layer.tar.gz
  zstdcat layer.tar.zst | cloister layer root -
  cloister layer root layer.disk --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &usageError{errors.New("layer root: want one LAYER (a file, or - for standard input) or DISK")}
			}
			o, err := in.options("layer root")
			if err != nil {
				return err
			}
			from, err := openLayer(cmd, args[0], in.quiet)
			if err != nil {
				return err
			}
			defer from.Close()
			if from.isDisk() {
				return rootOfDisk(cmd, from, args[0], &in)
			}
			res, err := layer.Root(cmd.Context(), from.reader(), o)
			if err != nil {
				return fmt.Errorf("%q: %w", args[0], err)
			}
			return in.print(cmd.OutOrStdout(), from, res)
		},
	}
	in.add(cmd.Flags())
	return cmd
}

func rootOfDisk(cmd *cobra.Command, from *layerFile, name string, in *layerInput) error {
	for _, flag := range []string{"format", "hard-links", "diff-id"} {
		if cmd.Flags().Changed(flag) {
			return &usageError{fmt.Errorf("layer root: %q is a disk already, --%s is for layers", name, flag)}
		}
	}
	img, err := verity.Inspect(from.file, from.size, verity.InspectOptions{})
	if err != nil {
		return fmt.Errorf("layer root %q: %w", name, err)
	}
	return printLayer(cmd.OutOrStdout(), img, false, in.asJSON)
}

// isDisk tells a disk from a tar: both file systems leave their first 1,024 bytes empty, where every tar with a file in it has a
// header, and have a superblock then.
func (l *layerFile) isDisk() bool {
	const empty = 1024
	if l.file == nil {
		return false
	}
	head := make([]byte, empty)
	if _, err := io.ReadFull(io.NewSectionReader(l.file, 0, empty), head); err != nil {
		return false
	}
	for _, c := range head {
		if c != 0 {
			return false
		}
	}
	_, err := verity.Inspect(l.file, l.size, verity.InspectOptions{AnySalt: true})
	return err == nil || !errors.Is(err, verity.ErrFormat)
}
