package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/vishvananda/netlink"
)

// Clean removes what a shim that was killed left in the network namespace at the path netns: redirects with our priorities, taps and the table with our
// names. Nothing else is touched. A path without a namespace, as after the namespace was removed, holds nothing of ours.
// It must not be called while the pod's shim lives.
func Clean(ctx context.Context, netns string) error {
	namespace, err := openNamespace(netns)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoNamespace) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("clean network: %w", err)
	}
	err = namespace.do(func() error { return clean(ctx) })
	if err != nil {
		err = fmt.Errorf("clean network %q: %w", netns, err)
	}
	return errors.Join(err, namespace.close())
}

// clean runs inside the namespace. Each part is tried whatever became of the others.
func clean(ctx context.Context) error {
	handle, err := openHandle()
	if err != nil {
		return err
	}
	defer handle.Close()
	errs := []error{removeNAT()}
	links, err := dump(ctx, handle.LinkList)
	if err != nil {
		return errors.Join(errs[0], fmt.Errorf("list links: %w", err))
	}
	for _, link := range links {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, cleanLink(handle, link))
	}
	return errors.Join(errs...)
}

func cleanLink(handle *netlink.Handle, link netlink.Link) error {
	attrs := link.Attrs()
	if link.Type() == "tuntap" && strings.HasPrefix(attrs.Name, tapPrefix) {
		return removeLink(attrs.Name)
	}
	_, filters, err := ingress(handle, link)
	if gone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("interface %q: %w", attrs.Name, err)
	}
	for _, f := range filters {
		if !ours(f) {
			return nil
		}
	}
	if len(filters) == 0 {
		return nil
	}
	return removeRedirect(attrs.Index)
}
