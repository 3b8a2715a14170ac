package acigen

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cloister-cc/cloister/tools/cloister/acigen/defaults"
)

const umask = "0022"

func (t *translation) security(e *Container) error {
	s := t.c.Security
	e.AllowElevated = t.privileged()
	t.flag("allow_elevated", e.AllowElevated, s.Privileged != nil, "not privileged")
	// Without a word about it a process may gain privileges, as in ACI.
	e.NoNewPrivileges = s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation
	t.flag("no_new_privileges", e.NoNewPrivileges, s.AllowPrivilegeEscalation != nil, "privilege escalation is allowed")
	t.capabilities(e)
	if err := t.user(e); err != nil {
		return err
	}
	profile, err := readSeccomp(s.SeccompProfile)
	if err == nil {
		e.SeccompSHA256, err = profile.sha256()
	}
	if err != nil {
		return fmt.Errorf("%s: seccomp profile: %w", originText(s.Origin), err)
	}
	for _, d := range profile.dropped() {
		t.note("seccomp profile: %s is no part of the profile that a runtime gets, and does not count", d)
	}
	if e.SeccompSHA256 == "" {
		t.explain("seccomp_profile_sha256", "", FromDefault, "no profile is named")
	} else {
		t.explain("seccomp_profile_sha256", e.SeccompSHA256, FromTemplate, originText(s.Origin))
	}
	return nil
}

func (t *translation) flag(field string, value, said bool, otherwise string) {
	if said {
		t.explain(field, show(value), FromTemplate, originText(t.c.Security.Origin))
		return
	}
	t.explain(field, show(value), FromDefault, otherwise)
}

// capabilities are the platform's, with the document's names added and dropped as they are spelled.
func (t *translation) capabilities(e *Container) {
	s := t.c.Security
	names, at := t.defaults.Capabilities.Unprivileged, "capabilities.unprivileged"
	if e.AllowElevated {
		names, at = t.defaults.Capabilities.Privileged, "capabilities.privileged"
	}
	set := slices.Concat(names, s.AddCapabilities)
	set = slices.DeleteFunc(set, func(n string) bool { return slices.Contains(s.DropCapabilities, n) })
	slices.Sort(set)
	set = empty(slices.Compact(set))
	inheritable := []string{}
	if e.AllowElevated {
		inheritable = slices.Clone(set)
	}
	e.Capabilities = &defaults.Capabilities{
		Ambient: []string{}, Bounding: set, Effective: slices.Clone(set), Inheritable: inheritable, Permitted: slices.Clone(set),
	}
	for _, n := range slices.Concat(s.AddCapabilities, s.DropCapabilities) {
		if !strings.HasPrefix(n, "CAP_") {
			t.note("capability %.40q is taken as it is spelled; capabilities are named CAP_…", n)
		}
	}
	t.explain("capabilities", strconv.Itoa(len(set))+" names", FromDefault, t.defaultsAt(at))
	if len(s.AddCapabilities) > 0 {
		t.explain("capabilities", "added: "+show(s.AddCapabilities), FromTemplate, originText(s.Origin))
	}
	if len(s.DropCapabilities) > 0 {
		t.explain("capabilities", "dropped: "+show(s.DropCapabilities), FromTemplate, originText(s.Origin))
	}
}

// user is the document's ids, else the image's user and group, else anybody.
func (t *translation) user(e *Container) error {
	anybody := defaults.IDName{Strategy: "any"}
	user, group := anybody, anybody
	userAt, groupAt := "neither document nor image name one", "neither document nor image name one"
	userFrom, groupFrom := FromDefault, FromDefault
	imageUser, imageGroup, hasGroup := strings.Cut(t.image.Config.User, ":")
	if imageUser != "" {
		user, userFrom, userAt = idName(imageUser), FromImage, imageAt(t.image, "User")
	}
	if hasGroup && imageGroup != "" {
		group, groupFrom, groupAt = idName(imageGroup), FromImage, imageAt(t.image, "User")
	}
	s := t.c.Security
	for _, id := range []struct {
		id   *int64
		into *defaults.IDName
		from *string
		at   *string
	}{{s.RunAsUser, &user, &userFrom, &userAt}, {s.RunAsGroup, &group, &groupFrom, &groupAt}} {
		if id.id == nil {
			continue
		}
		if *id.id < 0 || *id.id > 1<<32-2 {
			return fmt.Errorf("%s: id is %d, want 0 to 4294967294", originText(s.Origin), *id.id)
		}
		*id.into = defaults.IDName{Pattern: strconv.FormatInt(*id.id, 10), Strategy: "id"}
		*id.from, *id.at = FromTemplate, originText(s.Origin)
	}
	e.User = defaults.User{User: user, Groups: []defaults.IDName{group}, Umask: umask}
	t.explain("user.user_idname", strings.TrimSpace(user.Strategy+" "+user.Pattern), userFrom, userAt)
	t.explain("user.group_idnames[0]", strings.TrimSpace(group.Strategy+" "+group.Pattern), groupFrom, groupAt)
	return nil
}

// idName is an id where there are digits only, else a name.
func idName(s string) defaults.IDName {
	if strings.Trim(s, "0123456789") == "" {
		return defaults.IDName{Pattern: s, Strategy: "id"}
	}
	return defaults.IDName{Pattern: s, Strategy: "name"}
}
