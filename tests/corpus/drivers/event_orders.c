/* The server of libevent_server.py: it takes orders through bufferevents. */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

#include <arpa/inet.h>
#include <string.h>

static short ends = BEV_EVENT_ERROR | BEV_EVENT_EOF;

static void take_order(struct bufferevent *customer, void *arg)
{
	struct evbuffer *order = bufferevent_get_input(customer);

	(void)arg;
	evbuffer_drain(order, evbuffer_get_length(order));
	bufferevent_write(customer, "taken\n", 6);
}

static void customer_left(struct bufferevent *customer, short what, void *arg)
{
	(void)arg;
	if (what & ends)
		bufferevent_free(customer);
}

static void take_customer(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from, int len,
			  void *base)
{
	struct bufferevent *customer = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);

	(void)listener, (void)from, (void)len;
	bufferevent_setcb(customer, take_order, NULL, customer_left, NULL);
	bufferevent_enable(customer, EV_READ | EV_WRITE);
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(8080)};
	struct event_base *base = event_base_new();

	if (argc > 1 && !strcmp(argv[1], "leaking"))
		ends = BEV_EVENT_ERROR;
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (!base || !evconnlistener_new_bind(base, take_customer, base, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, 128,
					      (struct sockaddr *)&at, sizeof(at)))
		return 1;
	return event_base_dispatch(base);
}
