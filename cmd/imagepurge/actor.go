package main

import (
	"fmt"
	"os"
	"os/user"
	"strings"

	"github.com/imagepurge/imagepurge/repository"
)

// person is who types: the operating system's user. What the environment says beside
// it is recorded as claimed, since everybody sets their own.
func (a *app) person() repository.Person {
	p := repository.Person{Name: systemUser(), Host: "unknown", Claimed: map[string]string{}}
	for _, v := range []string{"SUDO_USER", "LOGNAME", "USER"} {
		if n := a.getenv(v); n != "" && n != p.Name {
			p.Claimed[v] = n
		}
	}
	if h, err := os.Hostname(); err == nil {
		p.Host = h
	}
	return p
}

// systemUser names the user by whose uid the program runs; "uid 1001" where the system
// has no name for it, as in many a container.
func systemUser() string {
	u, err := user.Current()
	if err != nil {
		u = &user.User{}
	}
	passwd, _ := os.ReadFile("/etc/passwd") // none: no name stands in it
	if asksSystem && u.Username != "" || namedIn(string(passwd), u) {
		return u.Username
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}

// namedIn tells whether /etc/passwd has the name for the uid. Where package user is
// built without the system's own look-up it takes $USER for the name of a uid that
// isn't there.
func namedIn(passwd string, u *user.User) bool {
	for line := range strings.Lines(passwd) {
		if f := strings.Split(line, ":"); len(f) > 2 && f[0] == u.Username && f[2] == u.Uid {
			return true
		}
	}
	return false
}
