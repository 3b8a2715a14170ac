package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/verity"
	"github.com/cloister-cc/cloister/verity/layer"
)

func newLayerCommand() *cobra.Command {
	cmd := asGroup(&cobra.Command{
		Use:   "layer",
		Short: "Turn image layers into verity disks, and check them",
		Long: `A layer disk is a file system (ext4 or EROFS), its dm-verity superblock and hash tree. It depends on the layer's bytes and
the format alone, and its root hash is the one that policies name.`,
		PersistentPreRun: func(*cobra.Command, []string) { collectLess() },
	})
	cmd.AddCommand(newLayerBuildCommand(), newLayerCacheCommand(), newLayerVerifyCommand(), newLayerRootCommand())
	return cmd
}

// collectLess is for commands that convert layers. A setting in the environment stands.
func collectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(layer.GCPercent)
	}
}

// layerInfo is what verify and root print with --json.
type layerInfo struct {
	RootHash   verity.Hash       `json:"root_hash"`
	FileSystem verity.FileSystem `json:"file_system"`
	DataSize   int64             `json:"data_size"`
	Size       int64             `json:"size"`
	Verified   bool              `json:"verified"` // every block was compared with the tree
}

func newLayerVerifyCommand() *cobra.Command {
	var root string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify DISK",
		Short: "Check every block of a disk against its tree, and the tree against a root hash",
		Example: `  cloister layer verify layer.disk
  cloister layer verify layer.disk --root $(cloister layer root layer.disk)`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &usageError{errors.New("layer verify: want one DISK")}
			}
			if args[0] == "-" {
				return &usageError{errors.New("layer verify: -: a disk is not read in order, so it has to be a file")}
			}
			var want *verity.Hash
			if root != "" {
				h, err := verity.ParseHash(root)
				if err != nil {
					return &usageError{fmt.Errorf("layer verify: --root: %w", err)}
				}
				want = &h
			}
			img, err := layer.InspectFile(cmd.Context(), args[0], true)
			if err != nil {
				return fmt.Errorf("layer verify %q: %w", args[0], err)
			}
			if want != nil && img.Root != *want {
				return fmt.Errorf("layer verify %q: root hash: got %s, want %s", args[0], img.Root, want)
			}
			return printLayer(cmd.OutOrStdout(), img, true, asJSON)
		},
	}
	cmd.Flags().StringVar(&root, "root", "", "root hash the disk must have (64 hex digits)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was found as JSON")
	return cmd
}

func printLayer(w io.Writer, img *verity.Image, verified, asJSON bool) error {
	if asJSON {
		return printLayerJSON(w, layerInfo{img.Root, img.FS, img.DataSize(), img.DiskSize(), verified})
	}
	ok := ""
	if verified {
		ok = "ok "
	}
	_, err := fmt.Fprintf(w, "%s%s\n", ok, img.Root)
	return err
}

func printLayerJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
