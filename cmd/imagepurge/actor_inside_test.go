package main

import (
	"os/user"
	"testing"
)

// Without the system's look-up package user returns $USER for a uid that /etc/passwd
// doesn't have: that is no name.
func TestAUserOfTheEnvironmentIsNoUser(t *testing.T) {
	t.Parallel()
	const passwd = "root:x:0:0::/root:/bin/sh\nann:x:1001:1001:Ann:/home/ann:/bin/sh\nbroken\n"
	for u, want := range map[user.User]bool{
		{Username: "ann", Uid: "1001"}:                               true,
		{Username: "root", Uid: "0"}:                                 true,
		{Username: "ann", Uid: "1002"}:                               false, // USER=ann, in a container with a uid of its own
		{Username: "mallory", Uid: "1001"}:                           false,
		{Username: "mallory", Uid: "1002", HomeDir: "/home/mallory"}: false,
		{}: false,
	} {
		if got := namedIn(passwd, &u); got != want {
			t.Errorf("%+v: got %t, want %t", u, got, want)
		}
	}
}
