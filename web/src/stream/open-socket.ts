import { ApiError, currentKey, post } from "../api/client";
import type { Socket } from "./client";

/** Opens a socket to the service. With a key it creates a ticket first, since browsers cannot send headers. */
export async function openSocket(): Promise<Socket> {
  const url = new URL("/v1/stream", window.location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  if (currentKey() !== null) {
    const ticket = await createTicket();
    if (ticket !== null) url.searchParams.set("ticket", ticket);
  }
  return new WebSocket(url) as Socket;
}

/** Returns null for a key without the scope stream: it is needed only where the service requires keys. */
async function createTicket(): Promise<string | null> {
  try {
    return (await post("/v1/tickets")).ticket;
  } catch (error) {
    if (error instanceof ApiError && error.status === 403) return null;
    throw error;
  }
}
