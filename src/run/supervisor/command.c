#include "run/supervisor/command.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* A client sends its line right after it connected. */
#define READ_TIMEOUT_S 1

static const char *const command_names[] = {
	[COMMAND_NONE] = "",
	[COMMAND_RELOAD] = "reload",
	[COMMAND_UPGRADE] = "upgrade",
};

enum command command_by_name(const char *word)
{
	if (strcmp(word, command_names[COMMAND_RELOAD]) == 0)
		return COMMAND_RELOAD;
	return strcmp(word, command_names[COMMAND_UPGRADE]) == 0 ? COMMAND_UPGRADE
								 : COMMAND_NONE;
}

/* ---- client ----------------------------------------------------------------- */

static int connect_and_send(const struct config *config, enum command command)
{
	const struct config_address *a = &config->control;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char line[64];
	int n = snprintf(line, sizeof(line), "%s\n", command_names[command]);

	if (fd < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)&a->sa, a->len) == 0 &&
	    send(fd, line, (size_t)n, MSG_NOSIGNAL) == n)
		return fd;
	close(fd);
	return -1;
}

/* Reads until the end of the connection. */
static size_t read_reply(int fd, char *text, size_t size)
{
	ssize_t got = 1;
	size_t n = 0;

	while (n < size && got > 0) {
		got = recv(fd, text + n, size - n, 0);
		n += got > 0 ? (size_t)got : 0;
	}
	close(fd);
	return n;
}

int command_send(const struct config *config, enum command command)
{
	char reply[1024];
	size_t n;
	int fd;

	if (!config->has_control) {
		fprintf(stderr,
			"fairlead: %s has no 'control'; write 'control: unix:/PATH' and "
			"restart, or send SIG%s to the supervisor\n",
			config->file, command == COMMAND_RELOAD ? "HUP" : "USR2");
		return 1;
	}
	fd = connect_and_send(config, command);
	if (fd < 0) {
		fprintf(stderr, "fairlead: no supervisor listens on %s: %s\n",
			config->control.text, strerror(errno));
		return 1;
	}
	n = read_reply(fd, reply, sizeof(reply) - 1);
	reply[n] = '\0';
	if (strncmp(reply, "ok ", 3) == 0) {
		printf("fairlead: %s", reply + 3);
		return 0;
	}
	fprintf(stderr, "fairlead: %s",
		strncmp(reply, "no ", 3) == 0 ? reply + 3
					      : "the supervisor ended without a reply\n");
	return 1;
}

/* ---- server ----------------------------------------------------------------- */

static bool may_command(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

enum command command_receive(int listener, int *client)
{
	const struct timeval patience = { READ_TIMEOUT_S, 0 };
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	enum command command = COMMAND_NONE;
	char word[16];
	ssize_t n;

	*client = fd;
	if (fd < 0)
		return COMMAND_NONE;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	n = may_command(fd) ? recv(fd, word, sizeof(word) - 1, 0) : 0;
	if (n > 1 && word[n - 1] == '\n') {
		word[n - 1] = '\0';
		command = command_by_name(word);
	}
	if (command == COMMAND_NONE)
		command_reply(
			client, false,
			"unknown command, or not sent by root or the user of the supervisor");
	return command;
}

void command_reply(int *client, bool done, const char *text)
{
	char line[1024];
	int n = snprintf(line, sizeof(line), "%s %.1000s\n", done ? "ok" : "no", text);

	if (*client < 0)
		return;
	(void)!send(*client, line, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(*client);
	*client = -1;
}
