package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// approve asks for each pattern that stands for a value which is not known yet. Where nobody can be asked, they are an error.
func (g *groupGenerate) approve(cmd *cobra.Command, policies []generated) error {
	var list []string
	for _, p := range policies {
		for _, w := range p.Wildcards() {
			list = append(list, fmt.Sprintf("container %s: %s (%s)", printable(w.Container), printable(w.Value), printable(w.Place)))
		}
	}
	if len(list) == 0 || g.wildcards {
		return nil
	}
	about := fmt.Sprintf("the document leaves values open (%d), which the host may then choose:\n  %s", len(list), strings.Join(list, "\n  "))
	ok, err := askUser(cmd, about+"\nAccept them?")
	if errors.Is(err, errNobody) {
		return fmt.Errorf("%s\n(give parameters their values with -p, or accept the patterns with -y)", about)
	}
	if err == nil && !ok {
		err = errors.New("the patterns were not accepted; nothing was written")
	}
	return err
}

// errNobody says that there is no terminal to ask at.
var errNobody = errors.New("no terminal")

// askUser asks at the terminal; anything but yes is no.
func askUser(cmd *cobra.Command, question string) (bool, error) {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return false, errNobody
	}
	return readYes(in, cmd.ErrOrStderr(), question)
}

func readYes(in io.Reader, out io.Writer, question string) (bool, error) {
	if _, err := fmt.Fprintf(out, "%s [y/N] ", question); err != nil {
		return false, err
	}
	line, err := bufio.NewReader(io.LimitReader(in, 1024)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	text := strings.ToLower(strings.TrimSpace(line))
	return text == "y" || text == "yes", nil
}
