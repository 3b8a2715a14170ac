package pod

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// maxID is the largest user or group id; the one above means "no id" to the kernel.
const maxID = math.MaxUint32 - 1

// accounts are an image's /etc/passwd and /etc/group, as far as they decide who a container runs as.
type accounts struct {
	users  []account
	groups []group
}

type account struct {
	name     string
	uid, gid uint32
}

type group struct {
	name    string
	gid     uint32
	members []string
}

type identity struct {
	name     string
	uid, gid uint32
	groups   []uint32 // supplementary, from /etc/group
}

// AccountFiles are the two files of an image that decide who a container runs as; empty where the image has none.
type AccountFiles struct{ Passwd, Group []byte }

func (img *Image) accounts(ctx context.Context) (*accounts, error) {
	if f := img.Accounts; f != nil {
		return &accounts{users: parsePasswd(f.Passwd), groups: parseGroup(f.Group)}, nil
	}
	for i, l := range img.Layers {
		if l.Open == nil {
			return nil, fmt.Errorf("the content of layer %d is not at hand, so nobody can tell who the user is and which groups he has: "+
				"say runAsUser, runAsGroup and supplementalGroupsPolicy: Strict, or name a place that has the image's layers", i)
		}
	}
	files, err := readFiles(ctx, img.Layers, []string{"etc/passwd", "etc/group"})
	if err != nil {
		return nil, err
	}
	return &accounts{users: parsePasswd(files["etc/passwd"]), groups: parseGroup(files["etc/group"])}, nil
}

// identity is who a container of the image runs as. Where everything is said (the user, his group, and that the image's groups
// do not count), the image is not looked into.
func (img *Image) identity(ctx context.Context, runAsUser, runAsGroup *int64, strict bool) (identity, error) {
	if strict && runAsUser != nil && runAsGroup != nil && img.Accounts == nil && slices.ContainsFunc(img.Layers, func(l Layer) bool { return l.Open == nil }) {
		return identity{uid: uint32(*runAsUser), gid: uint32(*runAsGroup)}, nil
	}
	a, err := img.accounts(ctx)
	if err != nil {
		return identity{}, err
	}
	id, err := a.resolve(img.Config.User, runAsUser, runAsGroup)
	if strict {
		id.groups = nil
	}
	return id, err
}

// OpenIdentities are the containers whose document leaves something of who they run as to their image's files: its user, his
// group, or the groups of /etc/group. A source without the images' content cannot resolve them.
func (p *Pod) OpenIdentities() []string {
	podSC := p.spec.SecurityContext
	if podSC == nil {
		podSC = &corev1.PodSecurityContext{}
	}
	var out []string
	for _, c := range p.containers() {
		sc := c.spec.SecurityContext
		if sc == nil {
			sc = &corev1.SecurityContext{}
		}
		if !isStrict(podSC) || firstSet(sc.RunAsUser, podSC.RunAsUser) == nil || firstSet(sc.RunAsGroup, podSC.RunAsGroup) == nil {
			out = append(out, c.spec.Name)
		}
	}
	return out
}

// parsePasswd skips lines that are not accounts, as the C library does.
func parsePasswd(data []byte) []account {
	var out []account
	for line := range fields(data) {
		if len(line) < 4 {
			continue
		}
		uid, errU := parseID(line[2])
		gid, errG := parseID(line[3])
		if errU == nil && errG == nil {
			out = append(out, account{name: line[0], uid: uid, gid: gid})
		}
	}
	return out
}

func parseGroup(data []byte) []group {
	var out []group
	for line := range fields(data) {
		if len(line) < 3 {
			continue
		}
		gid, err := parseID(line[2])
		if err != nil {
			continue
		}
		g := group{name: line[0], gid: gid}
		if len(line) > 3 && line[3] != "" {
			g.members = strings.Split(line[3], ",")
		}
		out = append(out, g)
	}
	return out
}

func fields(data []byte) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		lines := bufio.NewScanner(bytes.NewReader(data))
		lines.Buffer(nil, maxAccountFile+1)
		for lines.Scan() {
			text := strings.TrimSpace(lines.Text())
			if text == "" || text[0] == '#' {
				continue
			}
			if !yield(strings.Split(text, ":")) {
				return
			}
		}
	}
}

func parseID(text string) (uint32, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	if err == nil && id > maxID {
		err = fmt.Errorf("id %d is out of range", id)
	}
	return uint32(id), err
}

// resolve is containerd's rule. imageUser is "user", "user:group", "uid" or "uid:gid"; a runAsUser replaces all of it, a
// runAsGroup its group. A numeric user without an account has group 0 and no further groups.
func (a *accounts) resolve(imageUser string, runAsUser, runAsGroup *int64) (identity, error) {
	userPart, groupPart, hasGroup := strings.Cut(imageUser, ":")
	if runAsUser != nil {
		userPart, groupPart, hasGroup = strconv.FormatInt(*runAsUser, 10), "", false
	}
	id, err := a.user(userPart)
	if err != nil {
		return identity{}, err
	}
	switch {
	case runAsGroup != nil:
		id.gid = uint32(*runAsGroup)
	case hasGroup && groupPart != "":
		if id.gid, err = a.groupID(groupPart); err != nil {
			return identity{}, err
		}
	}
	for _, g := range a.groups {
		if id.name != "" && slices.Contains(g.members, id.name) && g.gid != id.gid && !slices.Contains(id.groups, g.gid) {
			id.groups = append(id.groups, g.gid)
		}
	}
	return id, nil
}

func (a *accounts) user(text string) (identity, error) {
	if text == "" {
		text = "0"
	}
	uid, notNumber := parseID(text)
	for _, u := range a.users {
		if (notNumber == nil && u.uid == uid) || (notNumber != nil && u.name == text) {
			return identity{name: u.name, uid: u.uid, gid: u.gid}, nil
		}
	}
	if notNumber != nil {
		return identity{}, fmt.Errorf("user %q is not in the image's /etc/passwd", clip(text))
	}
	return identity{uid: uid}, nil
}

func (a *accounts) groupID(text string) (uint32, error) {
	gid, notNumber := parseID(text)
	if notNumber == nil {
		return gid, nil
	}
	for _, g := range a.groups {
		if g.name == text {
			return g.gid, nil
		}
	}
	return 0, fmt.Errorf("group %q is not in the image's /etc/group", clip(text))
}
