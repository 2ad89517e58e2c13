import { currentKey, post } from "../api/client";
import type { Socket } from "./client";

/** Opens a socket to the service. With a key it creates a ticket first, since browsers cannot send headers. */
export async function openSocket(): Promise<Socket> {
  const url = new URL("/v1/stream", window.location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  if (currentKey() !== null) {
    const { ticket } = await post("/v1/tickets");
    url.searchParams.set("ticket", ticket);
  }
  return new WebSocket(url) as Socket;
}
