import { exchangesQuery } from "../api/queries";
import { useQuery } from "../api/query";

/** The state of an exchange; undefined while it is unknown. */
export function useExchangeState(exchange: string): string | undefined {
  return useQuery(exchangesQuery).data?.find(({ id }) => id === exchange)?.state;
}
